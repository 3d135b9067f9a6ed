package ovsdb

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A file is compacted when it has grown this much and to several times what it would be anew.
const (
	minCompact   = 10 << 20
	compactRatio = 4
)

// file is the log that holds a database. What is written is in the kernel before a transaction is
// answered, so that a killed process loses nothing; on the disk it is when the transaction said durable.
type file struct {
	path string
	log  *os.File
	lock *os.File
	size int64 // of the log
	base int64 // of the log when it was last written anew
	// broken is why nothing more can be written.
	broken error
}

// openDatabase reads the database of path, or makes the file with the schema where there is none.
// The second result says what was found wrong and put right: the end of a record that was not
// written to its end. The file is locked as ovsdb-server does it, so that two servers do not share it.
func openDatabase(path string, sch *schema) (*database, string, error) {
	lock, err := lockDatabase(path)
	if err != nil {
		return nil, "", err
	}
	db, note, err := readDatabase(path, sch)
	if err != nil {
		_ = lock.Close()
		return nil, "", err
	}
	db.file.lock = lock
	return db, note, nil
}

// lockDatabase takes the lock of ovsdb-server's lockfile: an fcntl lock on .NAME.~lock~.
func lockDatabase(path string) (*os.File, error) {
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".~lock~")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of database: %w", err)
	}
	flock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &flock); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock database %s, is another server using it?: %w", path, err)
	}
	return f, nil
}

func readDatabase(path string, sch *schema) (*database, string, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		db := newDatabase(sch)
		db.file = &file{path: path}
		return db, "", db.compact(time.Now())
	}
	if err != nil {
		return nil, "", fmt.Errorf("open database: %w", err)
	}
	db := newDatabase(sch)
	note, err := db.load(f)
	if err != nil {
		_ = f.Close()
		return nil, "", fmt.Errorf("read database %s: %w", path, err)
	}
	db.file.path = path
	return db, note, nil
}

// load reads a log and leaves it ready to be continued.
func (db *database) load(f *os.File) (note string, err error) {
	l := &logReader{r: bufio.NewReaderSize(f, 1<<16)}
	text, err := l.next()
	if err != nil {
		return "", fmt.Errorf("schema: %w", err)
	}
	if err := db.sameSchema(text); err != nil {
		return "", err
	}
	good := l.good
	for {
		text, err = l.next()
		if err != nil {
			break
		}
		if err := db.replay(text); err != nil {
			return "", fmt.Errorf("transaction at byte %d: %w", good, err)
		}
		good = l.good
	}
	db.history = history{}
	if errors.Is(err, errTorn) {
		if note, err = torn(f, good); err != nil {
			return "", err
		}
	}
	if _, err := f.Seek(good, io.SeekStart); err != nil {
		return "", err
	}
	db.file = &file{log: f, size: good, base: good}
	return note, nil
}

// sameSchema refuses a file of another database or of another version of the schema.
func (db *database) sameSchema(text []byte) error {
	has, err := parseSchema(text)
	if err != nil {
		return err
	}
	if has.name != db.schema.name || has.version != db.schema.version {
		return fmt.Errorf("it holds %s %s, not %s %s", has.name, has.version, db.schema.name, db.schema.version)
	}
	return nil
}

// replay makes a logged transaction happen again.
func (db *database) replay(text []byte) error {
	l, err := parseLoggedTxn(text)
	if err != nil {
		return err
	}
	t := newTxn(db, func(string) bool { return false })
	if err := t.replay(l); err != nil {
		return err
	}
	defer func() { clear(db.deltas) }()
	changes, opErr := t.commit()
	if opErr != nil {
		return opErr
	}
	db.apply(changes)
	return nil
}

// torn cuts off a record that was not written to its end. Where complete records follow it the
// file is damaged and is left as it is.
func torn(f *os.File, good int64) (string, error) {
	if _, err := f.Seek(good, io.SeekStart); err != nil {
		return "", err
	}
	rest, err := io.ReadAll(f)
	if err != nil {
		return "", err
	}
	if anyRecord(rest) {
		return "", fmt.Errorf("damaged at byte %d, with complete transactions after it", good)
	}
	if err := f.Truncate(good); err != nil {
		return "", err
	}
	return fmt.Sprintf("cut off %d bytes of a transaction that was not complete", len(rest)), nil
}

// anyRecord says whether a complete record begins anywhere in text.
func anyRecord(text []byte) bool {
	for {
		i := bytes.Index(text, []byte(logMagic))
		if i < 0 {
			return false
		}
		text = text[i:]
		l := logReader{r: bufio.NewReader(bytes.NewReader(text))}
		if _, err := l.next(); err == nil {
			return true
		}
		text = text[len(logMagic):]
	}
}

// store writes the changes of a transaction before they are made and answered. A database that
// cannot be written refuses all further changes.
func (db *database) store(changes []change, comments []string, durable bool) *opError {
	f := db.file
	if f == nil || len(changes) == 0 && !durable {
		return nil
	}
	if f.broken != nil {
		return failure("I/O error", "%s: %v", f.path, f.broken)
	}
	if err := f.append(db.deltas, changes, strings.Join(comments, "\n"), durable); err != nil {
		f.broken = err
		return failure("I/O error", "%s: %v", f.path, err)
	}
	return nil
}

func (f *file) append(diff deltas, changes []change, comment string, durable bool) error {
	if len(changes) > 0 {
		record := appendRecord(nil, func(b []byte) []byte {
			return appendTransaction(b, diff, changes, comment, time.Now().UnixMilli())
		})
		if _, err := f.log.Write(record); err != nil {
			return errors.Join(err, f.log.Truncate(f.size)) // no half record
		}
		f.size += int64(len(record))
	}
	if durable {
		return f.log.Sync()
	}
	return nil
}

// compactIfLarge writes the file anew when it has become much longer than it need be.
func (db *database) compactIfLarge() error {
	if f := db.file; f == nil || f.broken != nil || f.size < minCompact || f.size < compactRatio*f.base {
		return nil
	}
	return db.compact(time.Now())
}

// compact replaces the file by one with the schema and a single transaction. It is complete on the
// disk before it takes the old one's name.
func (db *database) compact(now time.Time) error {
	text := appendRecord(nil, func(b []byte) []byte { return append(b, oneLine(db.schema.raw)...) })
	if rows := db.allRows(); len(rows) > 0 {
		text = append(text, appendRecord(nil, func(b []byte) []byte {
			return appendTransaction(b, nil, rows, "compacted", now.UnixMilli())
		})...)
	}
	tmp := db.file.path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("compact database: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = os.Rename(tmp, db.file.path)
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("compact database: %w", err)
	}
	if db.file.log != nil {
		_ = db.file.log.Close()
	}
	db.file.log, db.file.size, db.file.base = f, int64(len(text)), int64(len(text))
	return syncDirectory(filepath.Dir(db.file.path))
}

// oneLine is JSON without blanks.
func oneLine(text []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return text
	}
	return b.Bytes()
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("compact database: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("compact database: %w", err)
	}
	return nil
}

// allRows is the content of the database as one transaction.
func (db *database) allRows() []change {
	var out []change
	for _, ts := range db.schema.tableOrder() {
		for _, r := range db.tables[ts].rows {
			out = append(out, change{table: ts, new: r})
		}
	}
	return out
}

func (f *file) close() error {
	return errors.Join(f.log.Close(), f.lock.Close())
}
