package dare

import (
	"errors"
	"fmt"
	"io"
)

// scanner finds the frames of a container file by their lengths alone.
type scanner struct {
	file io.ReaderAt
	size int64
}

// frames returns the offset after each frame. Octets after the last one are a torn frame: a write that the machine
// did not finish. Anything else that is not a frame is ErrDamaged, so that damage in the middle is never taken
// for a torn end and cut off with the frames behind it.
func (s scanner) frames() ([]int64, error) {
	var ends []int64
	at := int64(0)
	for at < s.size {
		end, err := s.frame(at)
		if err == nil {
			ends = append(ends, end)
			at = end
			continue
		}
		torn, ioErr := s.torn(at, end, err)
		switch {
		case ioErr != nil:
			return nil, ioErr
		case !torn:
			return nil, fmt.Errorf("%w: frame %d at octet %d: %w", ErrDamaged, len(ends), at, err)
		}
		return ends, nil
	}
	return ends, nil
}

// frame returns the offset after the frame at at; with errTail where it should end.
func (s scanner) frame(at int64) (int64, error) {
	var buf [2 * maxHead]byte
	b, err := s.read(buf[:maxHead], at)
	if err != nil {
		return 0, err
	}
	head, length, err := readHead(b, tagFrame)
	if err != nil {
		return 0, err
	}
	left := s.size - at - 2*int64(head)
	if left < 0 || length > uint64(left) {
		return 0, errShort
	}
	end := at + 2*int64(head) + int64(length)
	tail, err := s.read(buf[maxHead:maxHead+head], end-int64(head))
	if err != nil {
		return 0, err
	}
	if !isTail(tail, b[:head]) {
		return end, errTail
	}
	return end, nil
}

// torn judges what is at at and is not a frame.
func (s scanner) torn(at, end int64, err error) (bool, error) {
	switch {
	case errors.Is(err, errShort): // unless it is the length that is wrong, and whole frames follow
		whole, err := s.chained(at)
		return !whole, err
	case errors.Is(err, errTail): // only as a last frame whose end the file system has not filled in
		if end < s.size {
			return false, nil
		}
		return s.zero(s.size - 1)
	case errors.Is(err, errTag), errors.Is(err, errForm): // a file that grew and was not filled in
		return s.zero(at)
	}
	return false, err
}

// chained walks backward from the end and says whether that leads to a frame that begins at at.
func (s scanner) chained(at int64) (bool, error) {
	for p := s.size; p > at; {
		var buf [maxHead]byte
		n := min(maxHead, p-at)
		b, err := s.read(buf[:n], p-n)
		if err != nil {
			return false, err
		}
		for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
		head, length, err := readHead(b, tagFrame)
		left := p - at - 2*int64(head)
		if err != nil || left < 0 || length > uint64(left) {
			return false, nil
		}
		if uint64(left) == length {
			return true, nil
		}
		start := at + left - int64(length)
		if end, err := s.frame(start); err != nil || end != p {
			return false, ioError(err)
		}
		p = start
	}
	return false, nil
}

// zero says whether all octets from from on are zero.
func (s scanner) zero(from int64) (bool, error) {
	buf := make([]byte, 32<<10)
	for from < s.size {
		b, err := s.read(buf[:min(int64(len(buf)), s.size-from)], from)
		if err != nil {
			return false, err
		}
		for _, c := range b {
			if c != 0 {
				return false, nil
			}
		}
		from += int64(len(b))
	}
	return true, nil
}

// read fills b from at, or as much of it as the file has.
func (s scanner) read(b []byte, at int64) ([]byte, error) {
	b = b[:min(int64(len(b)), s.size-at)]
	_, err := s.file.ReadAt(b, at)
	return b, err
}

// ioError keeps errors that come from the file, not from its content.
func ioError(err error) error {
	for _, content := range []error{errShort, errTag, errForm, errTail} {
		if errors.Is(err, content) {
			return nil
		}
	}
	return err
}
