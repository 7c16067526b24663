package localsock

import "golang.org/x/sys/unix"

const maxPath = 107 // sun_path has 108 octets, the last one zero

func peerUID(fd int) (int, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return -1, err
	}
	return int(cred.Uid), nil
}
