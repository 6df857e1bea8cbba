package ledger

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// FileName is the ledger's name in its state directory.
const FileName = "ledger.jsonl"

const (
	pidName   = "ledger.pid"
	tempName  = "ledger.jsonl.tmp"
	tornName  = "ledger.torn"
	probeName = "ledger.probe"
	fileMode  = 0o640
)

// An Effect is one thing the ledger does to the disk.
type Effect string

// The effects, in the order in which an append and a rewrite have them.
const (
	Append    Effect = "append"
	Sync      Effect = "sync"
	Truncate  Effect = "truncate" // cut off what a failed append has left
	WriteTemp Effect = "write temporary file"
	SyncTemp  Effect = "sync temporary file"
	Rename    Effect = "rename"
	SyncDir   Effect = "sync directory"
	KeepTail  Effect = "keep torn tail"
	TryWrite  Effect = "try to write"
)

// An Around stands between the ledger and the disk: it is given each effect,
// the bytes to write where there are any, and the function that has the
// effect. Tests fail, cut short or crash there.
type Around func(e Effect, p []byte, do func(p []byte) error) error

// effect has one effect on the disk.
func (l *Ledger) effect(e Effect, p []byte, do func(p []byte) error) error {
	var err error
	if l.opt.Around != nil {
		err = l.opt.Around(e, p, do)
	} else {
		err = do(p)
	}
	if err != nil {
		return fmt.Errorf("%s in %s: %w", e, l.dir.path, err)
	}
	return nil
}

// ready makes the file on disk what the view in memory says, so that an
// append at l.good completes it. It is where every earlier failure is mended.
func (l *Ledger) ready() error {
	if err := l.dir.inPlace(); err != nil {
		return err
	}
	if err := l.keepTail(); err != nil {
		return err
	}
	if l.file == nil || l.doubtful {
		return l.rewrite(l.book)
	}
	size, inPlace, err := l.inspect()
	switch {
	case err != nil:
		return err
	case !inPlace || size < l.good:
		return l.mend()
	case size > l.good:
		return l.effect(Truncate, nil, func([]byte) error { return l.file.Truncate(l.good) })
	}
	return nil
}

// sync brings to the disk what is in the file. Once that has failed the kernel
// has dropped the error, and perhaps what it could not write: a second sync
// would succeed and mean nothing. What counts then is written anew.
func (l *Ledger) sync() error {
	err := l.effect(Sync, nil, func([]byte) error { return fdatasync(l.file) })
	l.doubtful = l.doubtful || err != nil
	return err
}

// inspect returns the size of the open file and whether it still is the one
// that a reader of the directory would open.
func (l *Ledger) inspect() (size int64, inPlace bool, err error) {
	ours, err := l.file.Stat()
	if err == nil {
		inPlace, err = l.dir.names(FileName, ours)
	}
	if err != nil {
		return 0, false, fmt.Errorf("inspect ledger: %w", err)
	}
	return ours.Size(), inPlace, nil
}

// mend writes the whole ledger anew from memory: it was removed, replaced or
// cut from outside while we held it, or a rewrite of ours ended half-way.
func (l *Ledger) mend() error {
	lost := !l.replacing
	if err := l.rewrite(l.book); err != nil {
		return err
	}
	if lost {
		l.notice("%s was removed, replaced or cut by somebody else; written anew from memory", l.dir.name(FileName))
	}
	return nil
}

// keepTail saves what a cut-short write has left before it is cut off.
func (l *Ledger) keepTail() error {
	if l.tail == nil {
		return nil
	}
	err := l.effect(KeepTail, l.tail, func(p []byte) error { return l.dir.write(tornName, p) })
	if err != nil {
		return err
	}
	l.notice("the last %d bytes of %s were a record cut short; cut off and kept in %s",
		len(l.tail), l.dir.name(FileName), l.dir.name(tornName))
	l.tail = nil
	return nil
}

// rewrite replaces the file by one that folds to b. Until the rename the old
// file is in force, from then on the new one; both are whole.
func (l *Ledger) rewrite(b book) error {
	all, err := b.encoded()
	if err != nil {
		return err
	}
	l.replacing = true
	f, err := l.writeTemp(all)
	if err != nil {
		return err
	}
	if err := l.moveTemp(); err != nil {
		f.Close()
		return err
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.good, l.book = f, int64(len(all)), b
	l.replacing, l.doubtful = false, false
	return nil
}

func (l *Ledger) writeTemp(all []byte) (*os.File, error) {
	f, err := l.dir.create(tempName)
	if err != nil {
		return nil, fmt.Errorf("rewrite ledger: %w", err)
	}
	err = l.effect(WriteTemp, all, func(p []byte) error { _, err := f.Write(p); return err })
	if err == nil {
		err = l.effect(SyncTemp, nil, func([]byte) error { return f.Sync() })
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (l *Ledger) moveTemp() error {
	err := l.effect(Rename, nil, func([]byte) error { return l.dir.rename(tempName, FileName) })
	if err != nil {
		return err
	}
	return l.effect(SyncDir, nil, func([]byte) error { return l.dir.self.Sync() })
}

// fdatasync also writes the size, without which the record could not be read.
func fdatasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// tryWrite writes, syncs and removes a file of one block.
func (l *Ledger) tryWrite() error {
	return l.effect(TryWrite, make([]byte, 4096), func(p []byte) error {
		f, err := l.dir.create(probeName)
		if err != nil {
			return err
		}
		_, err = f.Write(p)
		return errors.Join(err, f.Sync(), f.Close(), l.dir.remove(probeName))
	})
}
