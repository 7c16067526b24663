package localsock

import "golang.org/x/sys/unix"

const maxPath = 103 // sun_path has 104 octets, the last one zero

func peerUID(fd int) (int, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return -1, err
	}
	return int(cred.Uid), nil
}
