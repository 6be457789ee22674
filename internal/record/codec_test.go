package record_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/record"
)

var codecs = []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd}

// inflate is the plain bytes of a batch's records as libraries that are not ours see them.
func inflate(t testing.TB, b record.Batch) []byte {
	t.Helper()
	out, err := kgo.DefaultDecompressor().Decompress(b.RecordBytes(), kgo.CompressionCodecType(b.Codec()))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCodec_BuilderIsReadByOthers(t *testing.T) {
	s := record.NewScratch(record.Limits{})
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				recs := genRecs().Draw(rt, "recs")
				plain := build(t, record.BuilderOptions{}, recs...)
				b := build(t, record.BuilderOptions{Codec: codec, Scratch: s}, recs...)
				if b.Codec() != codec || !b.CheckCRC() {
					rt.Fatalf("codec %v, crc %v", b.Codec(), b.CheckCRC())
				}
				if !bytes.Equal(inflate(t, b), plain.RecordBytes()) {
					rt.Fatal("kgo's decompressor reads other bytes")
				}
				if d := diff(recs, collect(t, b, s)); d != "" {
					rt.Fatalf("our iterator (-want +got):\n%s", d)
				}
			})
		})
	}
}

func TestCodec_LevelsRoundTrip(t *testing.T) {
	value := bytes.Repeat([]byte("Jakob von Gunten "), 20_000)
	want := []rec{{TS: 1, Value: value}}
	s := record.NewScratch(record.Limits{})
	for codec, levels := range map[record.Codec][]int{
		record.Gzip: {-1, 1, 9}, record.LZ4: {1, 3, 9, 17}, record.Zstd: {-131072, -1, 1, 9, 22}, record.Snappy: {0},
	} {
		for _, level := range levels {
			b := build(t, record.BuilderOptions{Codec: codec, Level: level, Scratch: s}, want...)
			if len(b) > len(value)/4 {
				t.Errorf("%v level %d: %d bytes of %d", codec, level, len(b), len(value))
			}
			if d := diff(want, collect(t, b, s)); d != "" {
				t.Errorf("%v level %d does not round-trip", codec, level)
			}
		}
	}
	for codec, level := range map[record.Codec]int{record.Gzip: 10, record.LZ4: 18, record.Zstd: 23, record.Snappy: 1, 7: 0} {
		if err := codec.CheckLevel(level); err == nil {
			t.Errorf("%v takes level %d", codec, level)
		}
	}
}

// plainRecords is n records in the bytes they have without compression.
func plainRecords(t testing.TB, n, valueSize int) ([]rec, []byte) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, uint64(valueSize)))
	recs := make([]rec, n)
	for i := range recs {
		v := make([]byte, valueSize)
		for j := range v {
			v[j] = "abcdefgh"[rnd.IntN(8)]
		}
		recs[i] = rec{Delta: int32(i), TS: 1000 + int64(i), Value: v}
	}
	b := build(t, record.BuilderOptions{}, recs...)
	return recs, b.RecordBytes()
}

func TestCodec_ReadsForeignEncoders(t *testing.T) {
	lz4Frame := func(plain []byte, opts ...lz4.Option) []byte {
		var buf bytes.Buffer
		w := lz4.NewWriter(&buf)
		if err := w.Apply(opts...); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(plain)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	gzipped := func(plain []byte) []byte {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		_, _ = w.Write(plain)
		_ = w.Close()
		return buf.Bytes()
	}
	zstdFrame := func(plain []byte, opts ...zstd.EOption) []byte {
		w, err := zstd.NewWriter(nil, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return w.EncodeAll(plain, nil)
	}
	zstdStream := func(plain []byte, opts ...zstd.EOption) []byte {
		var buf bytes.Buffer
		w, err := zstd.NewWriter(&buf, opts...)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(plain)
		_ = w.Close()
		return buf.Bytes()
	}
	twice := func(enc func([]byte) []byte, plain []byte) []byte {
		half := len(plain) / 2
		return append(enc(plain[:half]), enc(plain[half:])...)
	}
	kgoOf := func(c kgo.CompressionCodec, plain []byte) []byte {
		comp, err := kgo.DefaultCompressor(c)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := comp.Compress(new(bytes.Buffer), plain)
		return out
	}
	noChecksum, blockSums := lz4.ChecksumOption(false), lz4.BlockChecksumOption(true)
	s := record.NewScratch(record.Limits{})
	for _, size := range []int{0, 10, 1000, 300_000} {
		recs, plain := plainRecords(t, max(4, min(40, 400_000/(size+1))), size)
		for _, c := range []struct {
			name  string
			codec record.Codec
			bytes []byte
		}{
			{"gzip", record.Gzip, gzipped(plain)},
			{"gzip, two members", record.Gzip, twice(gzipped, plain)},
			{"gzip of kgo", record.Gzip, kgoOf(kgo.GzipCompression(), plain)},
			{"snappy bare", record.Snappy, snappy.Encode(nil, plain)},
			{"snappy of kgo", record.Snappy, kgoOf(kgo.SnappyCompression(), plain)},
			{"snappy wrapped", record.Snappy, xerial.Encode(nil, plain)},
			{"snappy wrapped, two streams", record.Snappy, twice(func(p []byte) []byte { return xerial.Encode(nil, p) }, plain)},
			{"lz4", record.LZ4, lz4Frame(plain)},
			{"lz4 of kgo", record.LZ4, kgoOf(kgo.Lz4Compression(), plain)},
			{"lz4 64 KiB, no checksum", record.LZ4, lz4Frame(plain, lz4.BlockSizeOption(lz4.Block64Kb), noChecksum)},
			{"lz4 256 KiB, block checksums", record.LZ4, lz4Frame(plain, lz4.BlockSizeOption(lz4.Block256Kb), blockSums)},
			{"lz4 1 MiB, size, high compression", record.LZ4, lz4Frame(plain, lz4.BlockSizeOption(lz4.Block1Mb), lz4.SizeOption(uint64(len(plain))), lz4.CompressionLevelOption(lz4.Level5))},
			{"zstd", record.Zstd, zstdFrame(plain)},
			{"zstd of kgo", record.Zstd, kgoOf(kgo.ZstdCompression(), plain)},
			{"zstd best, checksum", record.Zstd, zstdStream(plain, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderCRC(true))},
			{"zstd window 32 MiB", record.Zstd, zstdStream(plain, zstd.WithWindowSize(32<<20))},
			{"zstd, two frames", record.Zstd, twice(func(p []byte) []byte { return zstdFrame(p) }, plain)},
		} {
			t.Run(fmt.Sprintf("%s/%d", c.name, size), func(t *testing.T) {
				b := rawBatch(t, c.codec, int32(len(recs)), c.bytes)
				got := collect(t, b, s)
				for i := range recs {
					want := recs[i]
					want.TS -= 1000 // rawBatch has base timestamp 0
					if d := diff(want, got[i]); d != "" {
						t.Fatalf("record %d (-want +got):\n%s", i, d)
					}
				}
				v, err := record.Validate(b, record.Rules{TimestampBeforeMaxMs: 1 << 62, TimestampAfterMaxMs: 1 << 62}, s)
				if err != nil || v.Rebuilt || v.InflatedBytes != int64(len(plain)) {
					t.Fatalf("validate: %v, rebuilt %v, inflated %d of %d", err, v.Rebuilt, v.InflatedBytes, len(plain))
				}
			})
		}
	}
}

// TestCodec_XerialSample reads bytes as snappy-java writes them: magic, version 1, compatible from 1, one block behind its length.
func TestCodec_XerialSample(t *testing.T) {
	sample, err := hex.DecodeString("82534e4150505900" + "00000001" + "00000001" +
		"0000000e" + // 14 bytes follow
		"0c" + "2c" + // snappy: 12 bytes, a literal of 12
		"16" + "00" + "00" + "00" + "02" + "6b" + "08" + "666f6f21" + "00") // record: length 11, key "k", value "foo!"
	if err != nil {
		t.Fatal(err)
	}
	got := collect(t, rawBatch(t, record.Snappy, 1, sample), nil)
	if d := diff([]rec{{Key: []byte("k"), Value: []byte("foo!")}}, got); d != "" {
		t.Fatal(d)
	}
	if ours := build(t, record.BuilderOptions{Codec: record.Snappy}, got...); !bytes.Equal(ours.RecordBytes(), sample) {
		t.Fatalf("our writer makes % x", ours.RecordBytes())
	}
}

func TestCodec_RefusesDamage(t *testing.T) {
	_, plain := plainRecords(t, 3, 50)
	// frame is a good lz4 frame around the records but for its two descriptor bytes and what follows them.
	frame := func(descriptor ...byte) []byte {
		out := binary.LittleEndian.AppendUint32(nil, 0x184D2204)
		out = append(append(out, descriptor...), byte(record.XXH32(descriptor)>>8))
		out = binary.LittleEndian.AppendUint32(out, uint32(len(plain))|1<<31)
		return append(append(out, plain...), 0, 0, 0, 0)
	}
	if _, err := tryCollect(rawBatch(t, record.LZ4, 3, frame(0x60, 0x40)), nil); err != nil {
		t.Fatalf("the frame must be good: %v", err)
	}
	ours := map[record.Codec][]byte{}
	recs, _ := plainRecords(t, 3, 50)
	for _, c := range codecs[1:] {
		ours[c] = build(t, record.BuilderOptions{Codec: c}, recs...).RecordBytes()
	}
	lz4Sums := func() []byte {
		var buf bytes.Buffer
		w := lz4.NewWriter(&buf)
		_ = w.Apply(lz4.BlockChecksumOption(true))
		_, _ = w.Write(plain)
		_ = w.Close()
		return buf.Bytes()
	}()
	flip := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[(i+len(b))%len(b)] ^= 1
		return b
	}
	for _, c := range []struct {
		name  string
		codec record.Codec
		bytes []byte
	}{
		{"gzip: nothing", record.Gzip, nil},
		{"gzip: no header", record.Gzip, []byte("not gzip at all")},
		{"gzip: cut", record.Gzip, ours[record.Gzip][:len(ours[record.Gzip])-1]},
		{"gzip: checksum", record.Gzip, flip(ours[record.Gzip], -5)},
		{"gzip: garbage behind", record.Gzip, append(bytes.Clone(ours[record.Gzip]), 1, 2, 3)},
		{"snappy: nothing", record.Snappy, nil},
		{"snappy: announces 2^31", record.Snappy, []byte{0xff, 0xff, 0xff, 0xff, 0x07, 0}},
		{"snappy: block length beyond end", record.Snappy, append(bytes.Clone(ours[record.Snappy][:16]), 0, 0, 0, 99, 1)},
		{"snappy: block length negative", record.Snappy, append(bytes.Clone(ours[record.Snappy][:16]), 0xff, 0xff, 0xff, 0xff, 1)},
		{"snappy: block length cut", record.Snappy, append(bytes.Clone(ours[record.Snappy]), 0, 0)},
		{"snappy: version 0", record.Snappy, flip(ours[record.Snappy], 11)},
		{"lz4: nothing", record.LZ4, nil},
		{"lz4: magic", record.LZ4, flip(ours[record.LZ4], 0)},
		{"lz4: linked blocks", record.LZ4, frame(0x40, 0x40)},
		{"lz4: dictionary", record.LZ4, frame(0x61, 0x40, 0, 0, 0, 0)},
		{"lz4: version 2", record.LZ4, frame(0xa0, 0x40)},
		{"lz4: block size code", record.LZ4, frame(0x60, 0x30)},
		{"lz4: header checksum", record.LZ4, flip(ours[record.LZ4], 6)},
		{"lz4: block beyond its size", record.LZ4, append(bytes.Clone(ours[record.LZ4][:7]), 1, 0, 1, 0x80)},
		{"lz4: block beyond end", record.LZ4, append(bytes.Clone(ours[record.LZ4][:7]), 9, 0, 0, 0, 1)},
		{"lz4: no end mark", record.LZ4, ours[record.LZ4][:len(ours[record.LZ4])-4]},
		{"lz4: second frame", record.LZ4, append(bytes.Clone(ours[record.LZ4]), ours[record.LZ4]...)},
		{"lz4: content checksum", record.LZ4, flip(lz4Sums, -1)},
		{"lz4: block checksum", record.LZ4, flip(lz4Sums, -9)},
		{"zstd: nothing", record.Zstd, nil},
		{"zstd: magic", record.Zstd, flip(ours[record.Zstd], 0)},
		{"zstd: cut", record.Zstd, ours[record.Zstd][:len(ours[record.Zstd])-1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := rawBatch(t, c.codec, 3, c.bytes)
			if recs, err := tryCollect(b, nil); !errors.Is(err, record.ErrCorrupt) {
				t.Fatalf("iterator read %d records, err %v", len(recs), err)
			}
			if _, err := record.Validate(b, record.Rules{}, record.NewScratch(record.Limits{})); err == nil {
				t.Fatal("validate takes it")
			}
		})
	}
	for _, codec := range codecs[1:] {
		t.Run(codec.String()+": other count", func(t *testing.T) {
			for _, n := range []int32{2, 4} {
				if _, err := tryCollect(rawBatch(t, codec, n, ours[codec]), nil); !errors.Is(err, record.ErrCorrupt) {
					t.Errorf("count %d of 3: %v", n, err)
				}
			}
		})
	}
	if _, err := tryCollect(rawBatch(t, 5, 1, plain), nil); !errors.Is(err, record.ErrUnknownCodec) {
		t.Errorf("codec 5: %v", err)
	}
}

// TestCodec_RefusesS2: in a copy, offset 0 means "the last offset again" to S2 and nothing to Snappy. A decoder of the former would take records
// that no consumer but a few can read.
func TestCodec_RefusesS2(t *testing.T) {
	packed := []byte{
		19, 9 << 2, 0x24, 0, 0, 0, 1, 0x18, 'a', 'a', 'a', 'a', // a literal: a record whose value begins
		0x01, 0x01, // copy 4 bytes from offset 1
		0x01, 0x00, // repeat 4 bytes from the last offset
		0x00, 0, // a literal: no headers
	}
	plain, err := s2.Decode(nil, packed)
	if err != nil {
		t.Fatal(err)
	}
	if got := collect(t, rawBatch(t, record.None, 1, plain), nil); string(got[0].Value) != "aaaaaaaaaaaa" {
		t.Fatalf("the sample must be a good record to S2: %q", got[0].Value)
	}
	if recs, err := tryCollect(rawBatch(t, record.Snappy, 1, packed), nil); !errors.Is(err, record.ErrCorrupt) {
		t.Fatalf("read %d records, %v", len(recs), err)
	}
}

func TestCodec_LimitsHold(t *testing.T) {
	big := rec{Value: make([]byte, 1<<20)}
	for _, codec := range codecs[1:] {
		b := build(t, record.BuilderOptions{Codec: codec}, big)
		if _, err := tryCollect(b, record.NewScratch(record.Limits{MaxRecordBytes: 1 << 19})); !errors.Is(err, record.ErrTooLarge) {
			t.Errorf("%v: record above the limit: %v", codec, err)
		}
		if _, err := tryCollect(b, record.NewScratch(record.Limits{MaxRecordBytes: 1<<20 + 20})); err != nil {
			t.Errorf("%v: record at the limit: %v", codec, err)
		}
	}
	plain := build(t, record.BuilderOptions{}, big).RecordBytes()
	bare := rawBatch(t, record.Snappy, 1, snappy.Encode(nil, plain))
	if _, err := tryCollect(bare, record.NewScratch(record.Limits{MaxBlockBytes: 1 << 19})); !errors.Is(err, record.ErrTooLarge) {
		t.Errorf("snappy block above the limit: %v", err)
	}
	var buf bytes.Buffer
	w, _ := zstd.NewWriter(&buf, zstd.WithWindowSize(64<<20))
	_, _ = w.Write(plain)
	_ = w.Close()
	if _, err := tryCollect(rawBatch(t, record.Zstd, 1, buf.Bytes()), nil); !errors.Is(err, record.ErrTooLarge) {
		t.Errorf("zstd window of 64 MiB: %v", err)
	}
}

// bomb is a batch of one record that inflates to about size bytes.
func bomb(t testing.TB, codec record.Codec, size int) record.Batch {
	t.Helper()
	const chunk = 1 << 20
	n := size / chunk * chunk
	zigzag := func(b []byte, v int) []byte { return binary.AppendUvarint(b, uint64(v)<<1) }
	first := make([]byte, 0, chunk)
	body := []byte{0, 0, 0, 1} // attributes, deltas, null key
	prefixed := func(value int) []byte {
		b := zigzag(bytes.Clone(body), value)
		return append(zigzag(nil, len(b)+value+1), b...)
	}
	value := n
	for len(prefixed(value))+value+1 > n { // the header count is one more zero
		value--
	}
	first = append(first, prefixed(value)...)
	n = len(first) + value + 1
	first = first[:chunk]
	zeros := make([]byte, chunk)
	last := make([]byte, n%chunk)
	var pack func(p []byte) []byte
	var head, tail []byte
	switch codec {
	case record.Gzip:
		pack = func(p []byte) []byte {
			var buf bytes.Buffer
			w := gzip.NewWriter(&buf)
			_, _ = w.Write(p)
			_ = w.Close()
			return buf.Bytes()
		}
	case record.Snappy:
		pack = func(p []byte) []byte { return xerial.Encode(nil, p)[16:] }
		head = xerial.Encode(nil, nil)[:16]
	case record.LZ4:
		frame := func(p []byte) []byte {
			var buf bytes.Buffer
			w := lz4.NewWriter(&buf)
			_ = w.Apply(lz4.ChecksumOption(false), lz4.BlockSizeOption(lz4.Block1Mb))
			_, _ = w.Write(p)
			_ = w.Close()
			return buf.Bytes()
		}
		pack = func(p []byte) []byte {
			f := frame(p)
			return f[7 : len(f)-4]
		}
		head, tail = frame(zeros)[:7], make([]byte, 4)
	case record.Zstd:
		w, _ := zstd.NewWriter(nil)
		pack = func(p []byte) []byte { return w.EncodeAll(p, nil) }
	}
	out := append(bytes.Clone(head), pack(first)...)
	whole := pack(zeros)
	for range n/chunk - 1 {
		out = append(out, whole...)
	}
	if len(last) > 0 {
		out = append(out, pack(last)...)
	}
	return rawBatch(t, codec, 1, append(out, tail...))
}

// TestValidate_BombTakesBoundedMemory walks batches that inflate to 1 GiB. Everything allocated on the way counts, not only what is live.
func TestValidate_BombTakesBoundedMemory(t *testing.T) {
	size := 1 << 30
	if testing.Short() {
		size = 64 << 20
	}
	for _, codec := range codecs[1:] {
		t.Run(codec.String(), func(t *testing.T) {
			b := bomb(t, codec, size)
			yields := 0
			rules := record.Rules{Yield: func() { yields++ }}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			v, err := record.Validate(b, rules, record.NewScratch(record.Limits{}))
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			if v.InflatedBytes < int64(size)-(1<<20) {
				t.Fatalf("inflated %d", v.InflatedBytes)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 12<<20 {
				t.Errorf("%d bytes of batch inflated to %d took %d bytes of memory", len(b), v.InflatedBytes, took)
			} else {
				t.Logf("%d bytes → %d, memory %d", len(b), v.InflatedBytes, took)
			}
			// A reader may hand over up to one block at once, a MiB here, so that is how much later than 256 KiB a call may come.
			if want := int(v.InflatedBytes / (256<<10 + 1<<20)); yields < want {
				t.Errorf("yielded %d times, want at least %d", yields, want)
			}
			if _, err := tryCollect(b, record.NewScratch(record.Limits{MaxRecordBytes: 8 << 20})); !errors.Is(err, record.ErrTooLarge) {
				t.Errorf("iterator: %v", err)
			}
		})
	}
}

func TestXXH32(t *testing.T) {
	for in, want := range map[string]uint32{"": 0x02cc5d05, "abc": 0x32d153ff, "Nobody inspects the spammish repetition": 0xe2293b2f} {
		if got := record.XXH32([]byte(in)); got != want {
			t.Errorf("%q: %#x, want %#x", in, got, want)
		}
	}
}

func TestCodec_ParseAndString(t *testing.T) {
	for _, c := range codecs {
		if got, err := record.ParseCodec(c.String()); err != nil || got != c {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	if _, err := record.ParseCodec("brotli"); err == nil {
		t.Error("brotli")
	}
}

// kgoCompress compresses with the libraries kgo uses.
func kgoCompress(codec record.Codec, plain []byte) ([]byte, error) {
	comp, err := kgo.DefaultCompressor(map[record.Codec]kgo.CompressionCodec{
		record.Gzip: kgo.GzipCompression(), record.Snappy: kgo.SnappyCompression(), record.LZ4: kgo.Lz4Compression(), record.Zstd: kgo.ZstdCompression(),
	}[codec])
	if err != nil {
		return nil, err
	}
	out, _ := comp.Compress(new(bytes.Buffer), plain)
	return bytes.Clone(out), nil
}
