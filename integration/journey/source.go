package journey

import (
	"encoding/binary"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Source deals out records: real text first (every Go source file of the
// toolchain and the module cache), then, as often as needed, again; between them
// generated records whose content is known from their number alone. Every record's
// value begins with its number, so that each is unique.
type Source struct {
	files []string
	next  uint64
	rng   *rand.Rand
	noise [1 << 16]byte
}

// largest is the longest file that is taken: a batch has to hold it.
const largest = 512 << 10

// NewSource lists the files. seed decides the generated records.
func NewSource(seed uint64) (*Source, error) {
	s := &Source{rng: rand.New(rand.NewPCG(seed, seed))}
	for i := range s.noise {
		s.noise[i] = "etaoin shrdlu\n"[s.rng.IntN(14)]
	}
	out, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE").Output()
	if err != nil {
		return nil, err
	}
	for _, root := range strings.Fields(string(out)) {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // a directory that cannot be read is left out
			}
			if d.Type().IsRegular() && strings.HasSuffix(path, ".go") {
				s.files = append(s.files, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	s.rng.Shuffle(len(s.files), func(i, j int) { s.files[i], s.files[j] = s.files[j], s.files[i] })
	return s, nil
}

// Next returns the next record's number, key and value. Every fourth is generated.
func (s *Source) Next() (number uint64, key, value []byte) {
	number = s.next
	s.next++
	value = binary.BigEndian.AppendUint64(nil, number)
	if number%4 != 0 && len(s.files) > 0 {
		path := s.files[number%uint64(len(s.files))]
		if text, err := os.ReadFile(path); err == nil && len(text) <= largest {
			return number, []byte(filepath.Base(path)), append(value, text...)
		}
	}
	n := s.rng.IntN(8 << 10)
	at := s.rng.IntN(len(s.noise) - n)
	return number, nil, append(value, s.noise[at:at+n]...)
}
