package queue

import "testing"

func appendAndWrite(q *Queue, head, body []byte) {
	q.Append(head, Payload{Data: body}, nil)
	q.Claim()
	for p := q.Next(); p != nil; p = q.Next() {
		q.Wrote(len(p), 0)
	}
}

func benchmarkQueue(b *testing.B, size int) {
	q := New(NewBudget(plenty), plenty)
	q.Open()
	head, body := make([]byte, 8), make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		appendAndWrite(q, head, body)
	}
}

func BenchmarkMessage128(b *testing.B) { benchmarkQueue(b, 128) }
func BenchmarkChunk64K(b *testing.B)   { benchmarkQueue(b, 64<<10) }

func BenchmarkBatchOf64(b *testing.B) {
	q := New(NewBudget(plenty), plenty)
	q.Open()
	head, body := make([]byte, 8), make([]byte, 128)
	b.SetBytes(64 * 128)
	b.ReportAllocs()
	for b.Loop() {
		for range 63 {
			q.Append(head, Payload{Data: body}, nil)
		}
		appendAndWrite(q, head, body)
	}
}

func BenchmarkSharedToTen(b *testing.B) {
	budget := NewBudget(plenty)
	var qs [10]*Queue
	for i := range qs {
		qs[i] = New(budget, plenty)
		qs[i].Open()
	}
	head, octets := make([]byte, 8), make([]byte, 64<<10)
	b.SetBytes(int64(len(qs) * len(octets)))
	b.ReportAllocs()
	for b.Loop() {
		body := NewBody(budget, octets)
		for _, q := range qs {
			q.Append(head, Payload{Data: octets, Shared: body}, nil)
		}
		body.Release()
		for _, q := range qs {
			q.Claim()
			for p := q.Next(); p != nil; p = q.Next() {
				q.Wrote(len(p), 0)
			}
		}
	}
}
