package rpc

import (
	"cmp"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	callpb "github.com/mathmesh/meshd/proto/mesh/call/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// Small calls go together on long-lived streams (proto/mesh/call/v1): what waits when the sender gets to run is one
// message, and so are the answers that wait. A gRPC stream of its own for each call costs two to three times as much
// processor time (docs/performance.md). To callers and handlers nothing changes: the same stubs, interceptors, errors,
// deadlines. This file is the caller's side, dispatch.go the server's.

const (
	// maxShared: a larger request is a call of its own, so that nothing small waits behind it.
	maxShared = 64 << 10
	// maxBatch is when a message is full: with overhead it fits gRPC's buffer of 32 KiB. The next larger one
	// is 1 MiB and is cleared for each message.
	maxBatch = 32 << 10
	overhead = 200 // of a call or an answer: ID, method, time, trace context
	// atOnce bounds the calls of one exchange that have no answer yet; more are calls of their own.
	atOnce = streams
	// enough calls without an answer make the next call go on another exchange, which round_robin gives to another process
	// of the shard: few calls share messages, many share processes.
	enough = 64
	// exchanges of one connection at most.
	exchanges = 4
	// exchangeLife: with the longest call after it, well below connGrace, so that no connection's age cuts a call off.
	// It also spreads load: each new exchange goes to the next process.
	exchangeLife = 5 * time.Second
	// aloneTime is how long calls go alone after a server of an older build was met.
	aloneTime = time.Minute
)

// errAlone: the call was not begun and has to go as a call of its own.
var errAlone = errors.New("not on a shared stream")

// shared lists the methods whose requests and answers are small. Everything else is a call of its own.
func shared(method string) bool {
	switch method {
	case shardpb.AccountsService_Resolve_FullMethodName,
		shardpb.AccountsService_Check_FullMethodName,
		shardpb.AccountsService_Status_FullMethodName,
		shardpb.AccountsService_Upload_FullMethodName:
		return true
	}
	return false
}

// exchanger makes the small calls of one grpc.ClientConn.
type exchanger struct {
	o Options

	mu    sync.Mutex // also guards what the exchanges hold
	open  [exchanges]*exchange
	alone time.Time // until then everything goes alone
}

// exchange is one stream with the calls on it.
type exchange struct {
	x         *exchanger
	slot      int
	queue     []*call // to be sent
	cancelled []uint64
	unread    map[uint64]*call // those without an answer; nil: nobody waits for it any more
	last      uint64           // ID
	retired   bool             // takes no further calls
	work      *sync.Cond       // the sender has something to do
}

// call is one call on an exchange.
type call struct {
	message  callpb.Call
	buffer   *[]byte // holds the payload; the sender's to give back
	deadline time.Time
	left     bool // before it was sent
	answer   *callpb.Answer
	err      error
	done     chan struct{} // closed when answer or err is there
}

// buffers hold messages between being made and being sent.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func giveBack(b *[]byte) {
	if b != nil && cap(*b) <= maxShared { // larger ones are rare
		buffers.Put(b)
	}
}

// intercept is a grpc.UnaryClientInterceptor.
func (x *exchanger) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, alone grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if shared(method) && plain(opts) {
		err := x.invoke(ctx, method, req.(proto.Message), reply.(proto.Message), cc)
		if !errors.Is(err, errAlone) {
			return err
		}
	}
	if !x.o.exports() {
		ctx = outgoing(ctx)
	}
	return alone(ctx, method, req, reply, cc, opts...)
}

// plain says whether a call has only the options that each call has: Dial's and the stub's.
func plain(opts []grpc.CallOption) bool {
	for _, o := range opts {
		switch o.(type) {
		case grpc.StaticMethodCallOption, grpc.MaxRecvMsgSizeCallOption, grpc.MaxSendMsgSizeCallOption:
		default:
			return false
		}
	}
	return true
}

func (x *exchanger) invoke(ctx context.Context, method string, req, reply proto.Message, cc *grpc.ClientConn) (err error) {
	size := proto.Size(req)
	if size > maxShared {
		return errAlone
	}
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	c := &call{buffer: buffers.Get().(*[]byte), done: make(chan struct{})}
	if *c.buffer, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend((*c.buffer)[:0], req); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	c.message.Method, c.message.Payload = method, *c.buffer
	c.deadline, _ = ctx.Deadline()
	if x.o.exports() {
		var span trace.Span
		ctx, span = startSpan(ctx, x.o.Tracer, method, trace.SpanKindClient)
		defer func() { endSpan(span, err) }()
	}
	inject(ctx, &c.message)

	e := x.add(c, cc)
	if e == nil {
		return errAlone
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		e.leave(c)
		return status.FromContextError(ctx.Err()).Err()
	}
	if c.err != nil {
		return c.err
	}
	if len(c.answer.Status) > 0 {
		return readStatus(c.answer.Status)
	}
	if err := proto.Unmarshal(c.answer.Payload, reply); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// add gives the call to an exchange; nil: it has to go alone.
func (x *exchanger) add(c *call, cc *grpc.ClientConn) *exchange {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.alone.IsZero() {
		if time.Now().Before(x.alone) {
			return nil
		}
		x.alone = time.Time{}
	}
	e := x.pick(cc)
	if len(e.unread) >= atOnce {
		return nil
	}
	e.last++
	c.message.Id = e.last
	e.unread[c.message.Id] = c
	e.queue = append(e.queue, c)
	e.work.Signal()
	return e
}

// pick returns the first exchange that has room, or the one with the fewest calls. x.mu is held.
func (x *exchanger) pick(cc *grpc.ClientConn) *exchange {
	least := x.open[0]
	for i, e := range x.open {
		if e == nil {
			e = &exchange{x: x, slot: i, unread: make(map[uint64]*call), work: sync.NewCond(&x.mu)}
			x.open[i] = e
			go e.run(cc)
		}
		if len(e.unread) < enough {
			return e
		}
		if len(e.unread) < len(least.unread) {
			least = e
		}
	}
	return least
}

// leave tells that nobody waits for the call any more. It holds its place until the server has answered.
func (e *exchange) leave(c *call) {
	e.x.mu.Lock()
	defer e.x.mu.Unlock()
	if e.unread[c.message.Id] != c {
		return // answered meanwhile
	}
	e.unread[c.message.Id] = nil
	c.left = true
	e.cancelled = append(e.cancelled, c.message.Id)
	e.work.Signal()
}

// run opens the stream and reads it to its end.
func (e *exchange) run(cc *grpc.ClientConn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	timer := time.AfterFunc(cmp.Or(e.x.o.exchangeLife, exchangeLife), func() {
		e.x.mu.Lock()
		defer e.x.mu.Unlock()
		e.retire()
	})
	defer timer.Stop()
	stream, err := callpb.NewCallServiceClient(cc).Exchange(ctx)
	if err != nil {
		e.end(err)
		return
	}
	go e.send(stream)
	for {
		r, err := stream.Recv()
		if err != nil {
			e.end(err)
			return
		}
		e.take(r)
	}
}

// retire lets no further call onto the exchange. What it has is sent, then the sender closes our side; the server answers
// and closes its own. x.mu is held.
func (e *exchange) retire() {
	e.retired = true
	if e.x.open[e.slot] == e {
		e.x.open[e.slot] = nil
	}
	e.work.Signal()
}

// take hands answers to those who wait for them.
func (e *exchange) take(r *callpb.ExchangeResponse) {
	e.x.mu.Lock()
	defer e.x.mu.Unlock()
	for _, a := range r.Answers {
		if c := e.unread[a.Id]; c != nil {
			c.answer = a
			close(c.done)
		}
		delete(e.unread, a.Id)
	}
	if r.Goodbye {
		e.retire()
	}
}

// end fails what has no answer: the stream is over. None of it is tried again here, since the server may have done it,
// unless the server does not know exchanges at all.
func (e *exchange) end(err error) {
	switch {
	case errors.Is(err, io.EOF):
		err = status.Error(codes.Unavailable, "the server ended the exchange")
	case status.Code(err) == codes.Unimplemented:
		err = errAlone
	}
	e.x.mu.Lock()
	defer e.x.mu.Unlock()
	if errors.Is(err, errAlone) {
		e.x.alone = time.Now().Add(aloneTime)
	}
	e.retire()
	for _, c := range e.unread {
		if c != nil {
			c.err = err
			close(c.done)
		}
	}
	clear(e.unread)
	e.queue = nil
}

// send sends what waits, until the exchange is retired and has sent everything.
func (e *exchange) send(stream grpc.BidiStreamingClient[callpb.ExchangeRequest, callpb.ExchangeResponse]) {
	var batch []*call
	var r callpb.ExchangeRequest
	for {
		var more bool
		batch, r.Cancelled, more = e.wait(batch[:0], r.Cancelled[:0])
		if !more {
			_ = stream.CloseSend()
			return
		}
		now := time.Now()
		clear(r.Calls)
		r.Calls = r.Calls[:0]
		for _, c := range batch {
			if !c.deadline.IsZero() {
				c.message.Timeout = max(1, int64(c.deadline.Sub(now))) // 0 would be none
			}
			r.Calls = append(r.Calls, &c.message)
		}
		err := stream.Send(&r)
		for _, c := range batch {
			giveBack(c.buffer)
		}
		clear(batch)
		if err != nil {
			return // Recv tells why, to all
		}
	}
}

// wait takes what is to be sent; false: no more will come.
func (e *exchange) wait(batch []*call, cancelled []uint64) ([]*call, []uint64, bool) {
	e.x.mu.Lock()
	defer e.x.mu.Unlock()
	for len(e.queue) == 0 && len(e.cancelled) == 0 {
		if e.retired {
			return batch, cancelled, false
		}
		e.work.Wait()
	}
	// Callers that are ready to run get into the same message; where there are none, this takes no time.
	e.x.mu.Unlock()
	runtime.Gosched()
	e.x.mu.Lock()
	size, n := 0, 0
	for ; n < len(e.queue); n++ {
		c := e.queue[n]
		if c.left {
			delete(e.unread, c.message.Id)
			continue
		}
		if size += len(c.message.Payload) + overhead; size > maxBatch && len(batch) > 0 {
			break
		}
		batch = append(batch, c)
	}
	rest := copy(e.queue, e.queue[n:])
	clear(e.queue[rest:])
	e.queue = e.queue[:rest]
	cancelled = append(cancelled, e.cancelled...)
	e.cancelled = e.cancelled[:0]
	return batch, cancelled, true
}

// readStatus makes the error of a google.rpc.Status.
func readStatus(b []byte) error {
	st := status.New(codes.Unknown, "").Proto()
	if err := proto.Unmarshal(b, st); err != nil || st.GetCode() == int32(codes.OK) {
		return status.Error(codes.Internal, "a status that cannot be read")
	}
	return status.ErrorProto(st)
}

// inject writes the trace context of ctx into a call.
func inject(ctx context.Context, c *callpb.Call) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	fields := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, fields)
	c.Traceparent, c.Tracestate = fields["traceparent"], fields["tracestate"]
}

// startSpan and endSpan do for calls on an exchange what otelgrpc does for others.
func startSpan(ctx context.Context, p trace.TracerProvider, method string, kind trace.SpanKind) (context.Context, trace.Span) {
	name := strings.TrimPrefix(method, "/")
	return p.Tracer("github.com/mathmesh/meshd/services/internal/rpc").Start(ctx, name, trace.WithSpanKind(kind),
		trace.WithAttributes(attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", name)))
}

func endSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(otelcodes.Error, status.Code(err).String())
	}
	span.End()
}
