package vm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// The fields of a bzImage's header that say where the compressed kernel stands (Documentation/arch/x86/boot.rst).
const (
	setupSectsAt    = 0x1f1
	bootMagicAt     = 0x202
	payloadOffsetAt = 0x248
	payloadLengthAt = 0x24c
	headerEnd       = 0x250
	sectorSize      = 512
)

// unpackImage returns the ELF file in a bzImage. QEMU starts it by PVH, without the seconds that the image's
// own decompression takes without acceleration.
func unpackImage(ctx context.Context, image []byte) ([]byte, error) {
	if len(image) < headerEnd || string(image[bootMagicAt:bootMagicAt+4]) != "HdrS" {
		return nil, errors.New("no bzImage")
	}
	setup := int(image[setupSectsAt])
	if setup == 0 {
		setup = 4 // boot.rst: for backwards compatibility
	}
	begin := (setup+1)*sectorSize + int(binary.LittleEndian.Uint32(image[payloadOffsetAt:]))
	end := begin + int(binary.LittleEndian.Uint32(image[payloadLengthAt:]))
	const sizeLength = 4 // the size of what was packed follows the packed
	if begin > end-sizeLength || end > len(image) {
		return nil, errors.New("its header points outside of it")
	}
	out, err := decompress(ctx, image[begin:end-sizeLength])
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(out, []byte("\x7fELF")) {
		return nil, errors.New("what it holds is no ELF file")
	}
	return out, nil
}

// decompress unpacks what begins as xz or Zstandard files do; other data stay as they are.
func decompress(ctx context.Context, data []byte) ([]byte, error) {
	var cmd *exec.Cmd
	switch {
	case bytes.HasPrefix(data, []byte("\xfd7zXZ\x00")):
		cmd = exec.CommandContext(ctx, "xz", "--decompress", "--stdout", "--single-stream")
	case bytes.HasPrefix(data, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		cmd = exec.CommandContext(ctx, "zstd", "--decompress", "--stdout", "--quiet")
	default:
		return data, nil
	}
	var errs strings.Builder
	cmd.Stdin, cmd.Stderr = bytes.NewReader(data), &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd.Args[0], err, strings.TrimSpace(errs.String()))
	}
	return out, nil
}
