package rpc

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	callpb "github.com/mathmesh/meshd/proto/mesh/call/v1"
)

// Server is a gRPC server that also takes small calls together (exchange.go). Services are registered before Serve.
type Server struct {
	*grpc.Server
	d *dispatcher
}

// RegisterService implements grpc.ServiceRegistrar.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.Server.RegisterService(desc, impl)
	for _, m := range desc.Methods {
		s.d.methods["/"+desc.ServiceName+"/"+m.MethodName] = method{m.Handler, impl}
	}
}

// GracefulStop lets calls finish that are under way, also those on exchanges: their callers are told to go elsewhere.
func (s *Server) GracefulStop() {
	s.d.leave()
	s.Server.GracefulStop()
}

// Stop cuts every connection.
func (s *Server) Stop() {
	s.d.leave()
	s.Server.Stop()
}

// dispatcher implements CallService: it gives each call to the handler of its method, through the interceptors that a
// call of its own goes through. The right to call is asked there, for each call: being on a stream gives none.
type dispatcher struct {
	callpb.UnimplementedCallServiceServer

	o         Options
	intercept grpc.UnaryServerInterceptor
	methods   map[string]method // by "/package.Service/Method"; fixed when serving begins
	leaving   context.Context   // done: the server is about to stop
	leave     context.CancelFunc

	tasks  chan *task // to workers that wait
	living atomic.Int64
}

type method struct {
	handle grpc.MethodHandler
	server any
}

// task is a call that is being served.
type task struct {
	line   *line
	call   *callpb.Call
	method method
	ctx    context.Context
	cancel context.CancelFunc
}

// due tells the caller's deadline; the context in it ends earlier by shave. So withDeadline needs no second timer.
type due struct {
	context.Context
	at time.Time
}

func (d due) Deadline() (time.Time, bool) { return d.at, true }

// line is the server's end of an exchange.
type line struct {
	d      *dispatcher
	stream grpc.BidiStreamingServer[callpb.ExchangeRequest, callpb.ExchangeResponse]
	work   sync.WaitGroup // tasks that use the stream

	mu      sync.Mutex
	open    int                           // calls whose answer has not been taken for sending
	running map[uint64]context.CancelFunc // by ID
	answers []*answer
	goodbye bool // to be sent
	sending bool // somebody is at it
}

type answer struct {
	message callpb.Answer
	buffer  *[]byte // holds the payload; nil: there is none
}

func newDispatcher(o Options, intercept grpc.UnaryServerInterceptor) *dispatcher {
	d := &dispatcher{o: o, intercept: intercept, methods: make(map[string]method), tasks: make(chan *task)}
	d.leaving, d.leave = context.WithCancel(context.Background())
	return d
}

// Exchange implements CallService. It returns when the caller has closed its side and has all answers, or when the
// stream breaks; then the contexts of its calls end.
func (d *dispatcher) Exchange(stream grpc.BidiStreamingServer[callpb.ExchangeRequest, callpb.ExchangeResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	l := &line{d: d, stream: stream, running: make(map[uint64]context.CancelFunc)}
	said := make(chan struct{})
	unsaid := context.AfterFunc(d.leaving, func() {
		defer close(said)
		l.put(nil)
	})
	err := l.read(ctx)
	if err != nil {
		cancel()
	}
	l.work.Wait()
	if !unsaid() {
		<-said
	}
	return err
}

// read starts calls until the caller closes its side.
func (l *line) read(ctx context.Context) error {
	for {
		r, err := l.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, c := range r.Calls {
			if err := l.start(ctx, c); err != nil {
				return err
			}
		}
		l.mu.Lock()
		for _, id := range r.Cancelled {
			if cancel := l.running[id]; cancel != nil {
				cancel()
			}
		}
		l.mu.Unlock()
	}
}

// start gives a call to a worker. It never waits, so that cancellations arrive.
func (l *line) start(ctx context.Context, c *callpb.Call) error {
	m, known := l.d.methods[c.Method]
	t := &task{line: l, call: c, method: m}
	if c.Timeout > 0 {
		at := time.Now().Add(time.Duration(c.Timeout))
		ctx, t.cancel = context.WithDeadline(ctx, at.Add(-shave))
		t.ctx = due{ctx, at}
	} else {
		t.ctx, t.cancel = context.WithCancel(ctx) // withDeadline refuses it
	}
	l.mu.Lock()
	l.open++
	full := l.open > atOnce
	l.running[c.Id] = t.cancel
	l.mu.Unlock()
	if full { // no caller of ours does that
		t.cancel()
		return status.Errorf(codes.ResourceExhausted, "more than %d calls at once", atOnce)
	}
	l.work.Add(1)
	if !known {
		t.finish(nil, status.Errorf(codes.Unimplemented, "unknown method %q", c.Method))
		return nil
	}
	select {
	case l.d.tasks <- t:
	default:
		go l.d.worker(t)
	}
	return nil
}

// worker serves a call, and others after it unless there are workers enough (see workers).
func (d *dispatcher) worker(t *task) {
	t.serve()
	defer d.living.Add(-1)
	if d.living.Add(1) > workers {
		return
	}
	for {
		select {
		case t := <-d.tasks:
			t.serve()
		case <-d.leaving.Done():
			return
		}
	}
}

func (t *task) serve() {
	ctx := t.ctx
	if t.call.Traceparent != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": t.call.Traceparent, "tracestate": t.call.Tracestate})
	}
	var span trace.Span
	if t.line.d.o.exports() {
		ctx, span = startSpan(ctx, t.line.d.o.Tracer, t.call.Method, trace.SpanKindServer)
	}
	response, err := t.method.handle(t.method.server, ctx, t.decode, t.line.d.intercept)
	if span != nil {
		endSpan(span, err)
	}
	t.finish(response, err)
}

// decode reads the request.
func (t *task) decode(request any) error {
	if err := proto.Unmarshal(t.call.Payload, request.(proto.Message)); err != nil {
		return status.Errorf(codes.Internal, "request: %v", err)
	}
	return nil
}

// finish answers the call.
func (t *task) finish(response any, err error) {
	t.cancel()
	a := new(answer)
	if err == nil {
		err = a.encode(response.(proto.Message))
	}
	if err != nil {
		st, ok := status.FromError(err)
		if !ok {
			st = status.FromContextError(err)
		}
		a.message.Status, err = proto.Marshal(st.Proto())
		if err != nil { // details that are no message; a status has at least a code
			a.message.Status = []byte{8, byte(codes.Internal)}
		}
	}
	a.message.Id = t.call.Id
	t.line.put(a)
	t.line.work.Done()
}

func (a *answer) encode(response proto.Message) error {
	if size := proto.Size(response); size > maxMessage-overhead { // it would break the stream
		return status.Errorf(codes.ResourceExhausted, "an answer of %d octets", size)
	}
	a.buffer = buffers.Get().(*[]byte)
	var err error
	*a.buffer, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend((*a.buffer)[:0], response)
	a.message.Payload = *a.buffer
	return err
}

// put sends an answer, with others that wait; nil: a goodbye. Whoever comes first sends for all who come meanwhile.
func (l *line) put(a *answer) {
	l.mu.Lock()
	if a == nil {
		l.goodbye = true
	} else {
		l.answers = append(l.answers, a)
		delete(l.running, a.message.Id)
	}
	if l.sending {
		l.mu.Unlock()
		return
	}
	l.sending = true
	l.mu.Unlock()

	var batch []*answer
	var r callpb.ExchangeResponse
	for {
		runtime.Gosched() // as in exchange.wait
		var more bool
		if batch, more = l.batch(batch[:0], &r); !more {
			return
		}
		_ = l.stream.Send(&r) // a broken stream shows in read
		for _, a := range batch {
			giveBack(a.buffer)
		}
	}
}

// batch takes what is to be sent next; false: nothing, and sending is over.
func (l *line) batch(batch []*answer, r *callpb.ExchangeResponse) ([]*answer, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.answers) == 0 && !l.goodbye {
		l.sending = false
		return nil, false
	}
	r.Goodbye, l.goodbye = l.goodbye, false
	r.Answers = r.Answers[:0]
	size, n := 0, 0
	for ; n < len(l.answers); n++ {
		a := l.answers[n]
		if size += len(a.message.Payload) + len(a.message.Status) + overhead; size > maxBatch && n > 0 {
			break
		}
		batch = append(batch, a)
		r.Answers = append(r.Answers, &a.message)
	}
	rest := copy(l.answers, l.answers[n:])
	clear(l.answers[rest:])
	l.answers = l.answers[:rest]
	l.open -= n
	return batch, true
}
