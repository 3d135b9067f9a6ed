package vm

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"strings"
	"testing"
)

// bzImage is an image with a payload, by the fields that unpackImage reads.
func bzImage(payload []byte) []byte {
	const setup = 1
	image := make([]byte, (setup+1)*sectorSize)
	image[setupSectsAt] = setup
	copy(image[bootMagicAt:], "HdrS")
	binary.LittleEndian.PutUint32(image[payloadOffsetAt:], 0)
	binary.LittleEndian.PutUint32(image[payloadLengthAt:], uint32(len(payload)))
	return append(image, payload...)
}

func packed(t *testing.T, program, text string) []byte {
	t.Helper()
	cmd := exec.Command(program, "--compress", "--stdout")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return append(out, "size"...)
}

func TestUnpackImage(t *testing.T) {
	const kernel = "\x7fELF and the rest"
	for _, program := range []string{"xz", "zstd"} {
		t.Run(program, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil {
				t.Skip(err)
			}
			got, err := unpackImage(t.Context(), bzImage(packed(t, program, kernel)))
			if err != nil || string(got) != kernel {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestUnpackImageRefuses(t *testing.T) {
	whole := bzImage([]byte("\x7fELF kernel, size"))
	outside := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(outside[payloadLengthAt:], 1<<20)
	for _, tc := range []struct {
		name  string
		image []byte
		word  string
	}{
		{"short", whole[:headerEnd-1], "no bzImage"},
		{"another file", make([]byte, 4096), "no bzImage"},
		{"a payload outside", outside, "outside"},
		{"nothing in it", bzImage(nil), "outside"},
		{"no kernel in it", bzImage([]byte("text and size")), "no ELF"},
		{"damaged xz", bzImage([]byte("\xfd7zXZ\x00 and more")), "xz"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := unpackImage(t.Context(), tc.image); err == nil || !strings.Contains(err.Error(), tc.word) {
				t.Errorf("%v, want %q", err, tc.word)
			}
		})
	}
}

func FuzzUnpackImage(f *testing.F) {
	f.Add(bzImage([]byte("\x7fELF kernel, size")))
	f.Add(bzImage(nil))
	f.Fuzz(func(t *testing.T, image []byte) {
		if bytes.Contains(image, []byte("7zXZ")) || bytes.Contains(image, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
			t.Skip("other programs unpack that")
		}
		got, err := unpackImage(t.Context(), image)
		if err == nil && !bytes.Contains(image, got) {
			t.Errorf("%q is not in the image", got)
		}
	})
}
