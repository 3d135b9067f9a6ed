package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/scenarios/report"
)

// reserved is the room that is set aside for the reports on a disk that fills up.
const reserved = 4 << 20

// disk is the directory of artefacts, which may be full.
type disk struct {
	dir     string
	records *os.File // nil once it could not be written
	gaps    []report.Gap
}

// openDisk starts the file of records anew and sets room aside for the reports. What does not work
// becomes a gap in the reports.
func openDisk(dir string) *disk {
	d := &disk{dir: dir}
	var err error
	if d.records, err = os.OpenFile(filepath.Join(dir, File), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		d.lacks(File, err)
	}
	if err := d.reserve(); err != nil {
		d.lacks("reports", fmt.Errorf("no room could be set aside for them: %w", err))
	}
	return d
}

func (d *disk) lacks(what string, err error) {
	d.gaps = append(d.gaps, report.Gap{Collector: what, Why: err.Error()})
}

func (d *disk) reservePath() string { return filepath.Join(d.dir, ".reserved") }

// reserve takes room on the disk, where its file system can.
func (d *disk) reserve() error {
	f, err := os.OpenFile(d.reservePath(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, reserved)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		d.release()
	}
	return err
}

// release gives the room back.
func (d *disk) release() { _ = os.Remove(d.reservePath()) } // it may be gone already

func (d *disk) close() {
	d.release()
	if d.records != nil {
		_ = d.records.Close() // every write was checked
	}
}

// append writes a record. After the first failure the file stays as it is: whole lines up to there.
func (d *disk) append(r Record) {
	if d.records == nil {
		return
	}
	line, err := json.Marshal(r)
	if err == nil {
		err = d.whole(append(line, '\n'))
	}
	if err != nil {
		d.lacks(File, err)
		_ = d.records.Close() // it is given up
		d.records = nil
	}
}

// whole writes a line, or nothing of it.
func (d *disk) whole(line []byte) error {
	n, err := d.records.Write(line)
	if err == nil {
		return nil
	}
	if st, serr := d.records.Stat(); serr == nil && n > 0 {
		_ = d.records.Truncate(st.Size() - int64(n)) // half a line is worse than none
	}
	return err
}

// reports writes the reports. On a full disk it makes room, by what is needed least, until they fit;
// they say what was given up.
func (d *disk) reports(run report.Run) error {
	run.Gaps = slices.Concat(run.Gaps, d.gaps)
	err := run.Save(d.dir)
	for _, give := range []func(report.Run, error) report.Run{d.giveReserve, d.giveRecords, d.giveEvidence, d.giveOldReports} {
		if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
			return err
		}
		run = give(run, err)
		err = run.Save(d.dir)
	}
	return err
}

func (d *disk) giveReserve(run report.Run, err error) report.Run {
	d.release()
	run.Gaps = append(run.Gaps, report.Gap{Collector: "artefacts", Why: "the disk was full when the reports were written: " + err.Error()})
	return run
}

// giveRecords drops the stream: run.json says the same.
func (d *disk) giveRecords(run report.Run, _ error) report.Run {
	if err := os.Truncate(filepath.Join(d.dir, File), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return run
	}
	run.Gaps = append(run.Gaps, report.Gap{Collector: File, Why: "given up for the reports: no space left on device"})
	return run
}

// giveEvidence leaves out what takes room and is not a verdict.
func (d *disk) giveEvidence(run report.Run, _ error) report.Run {
	run.Scenarios = slices.Clone(run.Scenarios)
	for i := range run.Scenarios {
		s := &run.Scenarios[i]
		s.Events, s.Packets, s.Changes, s.Paths, s.Evidence = nil, nil, nil, nil, nil
	}
	run.Gaps = append(run.Gaps, report.Gap{Collector: "evidence", Why: "events, packets, paths and changes are left out: no space left on device"})
	return run
}

// giveOldReports removes those of before, which stood until now beside the new ones.
func (d *disk) giveOldReports(run report.Run, _ error) report.Run {
	for _, name := range []string{report.FileRun, report.FileJUnit, report.FileHTML, report.FileSummary} {
		_ = os.Remove(filepath.Join(d.dir, name)) // there may be none
	}
	return run
}
