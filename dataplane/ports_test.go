package dataplane

import (
	"errors"
	"strconv"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestSNATPorts(t *testing.T) {
	tests := []struct {
		name               string
		localMin, localMax uint16
		low, high          uint16
		err                error
	}{
		{"default", 32768, 60999, 1024, 32767, nil},
		{"low ports local", 1024, 20000, 20001, 65535, nil},
		{"top local", 50000, 65535, 1024, 49999, nil},
		{"everything local", 1024, 65535, 0, 0, errNoPorts},
		{"too little on either side", 2000, 65000, 0, 0, errNoPorts},
		{"just enough", 2048, 65535, 1024, 2047, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			low, high, err := snatPorts(tt.localMin, tt.localMax)
			if low != tt.low || high != tt.high || !errors.Is(err, tt.err) {
				t.Errorf("got %d-%d, %v; want %d-%d, %v", low, high, err, tt.low, tt.high, tt.err)
			}
		})
	}
}

func TestFindRange(t *testing.T) {
	tests := []struct {
		name          string
		used          []poolRange
		n, next, size uint32
		first         uint32
		ok            bool
	}{
		{"empty", nil, 3, 0, 10, 0, true},
		{"empty, in turn", nil, 3, 5, 10, 5, true},
		{"round the end", nil, 3, 8, 10, 0, true},
		{"after the used", []poolRange{{0, 4}}, 3, 0, 10, 4, true},
		{"in a gap", []poolRange{{6, 4}, {0, 3}}, 3, 0, 10, 3, true},
		{"gap too small", []poolRange{{4, 3}, {0, 3}}, 2, 0, 10, 7, true},
		{"next is inside a used one", []poolRange{{0, 4}}, 2, 2, 10, 4, true},
		{"before next, when that is all", []poolRange{{5, 5}}, 4, 7, 10, 0, true},
		{"full", []poolRange{{0, 10}}, 1, 0, 10, 0, false},
		{"too large", nil, 11, 0, 10, 0, false},
		{"exact", nil, 10, 4, 10, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first, ok := findRange(tt.used, tt.n, tt.next, tt.size)
			if ok != tt.ok || ok && first != tt.first {
				t.Errorf("got %d, %v; want %d, %v", first, ok, tt.first, tt.ok)
			}
		})
	}
}
