package guard

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// readState reads a file of the state directory that is at most so large. It follows no
// link out of the directory and waits for no pipe: it may belong to another user.
func readState(dir, name string, most int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() > most:
		return nil, fmt.Errorf("%d bytes, more than it ever has", info.Size())
	}
	return io.ReadAll(io.LimitReader(f, most))
}

// writeState replaces a file of the state directory, or leaves it as it is.
func writeState(dir, name string, text []byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	err = renameio.WriteFile(name, text, 0o640, renameio.WithRoot(root))
	if why := errors.Unwrap(err); why != nil {
		return why // without the name of the temporary file, which is another each time
	}
	return err
}

// removeState removes a file of the state directory. One that is not there is no error.
func removeState(dir, name string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
