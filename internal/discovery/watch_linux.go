package discovery

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watch calls changed when an interface or an address may have come or gone, until
// ctx ends: the kernel says so.
func watch(ctx context.Context, changed func()) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err == nil {
		const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
		if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		poll(ctx, changed)
		return
	}
	file := os.NewFile(uintptr(fd), "netlink")
	defer file.Close()
	stop := context.AfterFunc(ctx, func() { file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 16<<10)
	for ctx.Err() == nil {
		if _, err := file.Read(buf); err != nil && ctx.Err() == nil && !errors.Is(err, unix.ENOBUFS) {
			poll(ctx, changed)
			return
		}
		changed()
	}
}
