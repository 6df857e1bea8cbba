package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrOwned is what is returned of a table that is to be made, changed or removed
	// while another socket owns it: that of a living process.
	ErrOwned = errors.New("the table belongs to another running guardian")
	// ErrUnsupported is what is returned of a table that is to be made where the kernel
	// lacks nf_tables, or a part of it that the table needs.
	ErrUnsupported = errors.New("not supported by this kernel")
)

// unsupported marks the errors that mean a kernel without nf_tables, where
// nothing but the presence of it was asked. Without nfnetlink there is no such
// protocol; without nf_tables nfnetlink_rcv_msg answers EINVAL.
func unsupported(err error) error {
	return mark(err, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.EINVAL)
}

// lacking marks the errors of a ruleset that the kernel has no code for: an
// expression or a type of chain that is not built in and can't be loaded is
// ENOENT (nft_expr_type_get, nf_tables_chain_type_lookup).
func lacking(err error) error {
	return mark(err, unix.ENOENT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT)
}

func mark(err error, these ...unix.Errno) error {
	for _, errno := range these {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	return permission(err)
}

// permission says what a refused call lacks.
func permission(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (CAP_NET_ADMIN is needed)", err)
	}
	return err
}
