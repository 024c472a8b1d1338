// Package stack assembles roles from their parts: listeners, credentials, stores, health. `meshd gateway`, `meshd shard`,
// `meshd dev` and meshtest build the same parts with it, so that there is no second code path: also in one process a
// gateway reaches its shards through gRPC with mutual TLS over loopback.
package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mathmesh/meshd/services/internal/rpc"
)

const (
	// stopTime lets requests finish that are under way: the longest deadline that a gateway sets.
	stopTime = 10 * time.Second
	// adminTime bounds requests to the admin listener; a scrape of some thousand series takes milliseconds.
	adminTime = 10 * time.Second
)

// process is a set of servers that end together.
type process struct {
	fault   chan error
	stopped chan struct{}

	mu    sync.Mutex
	stops []func(context.Context) error // in the order of starting
}

func newProcess() *process {
	return &process{fault: make(chan error, 1), stopped: make(chan struct{})}
}

// Failed tells the first fault of a server that should still be running.
func (p *process) Failed() <-chan error { return p.fault }

func (p *process) fail(err error) {
	select {
	case p.fault <- err:
	default: // one is enough to end
	}
}

// onStop adds what ends the last-started part; parts stop in the reverse order.
func (p *process) onStop(stop func(context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stops = append(p.stops, stop)
}

// Stop stops all parts, the last-started first. What is under way has stopTime. A second Stop does nothing.
func (p *process) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stopped:
		return nil
	default:
		close(p.stopped)
	}
	var errs []error
	for i := len(p.stops) - 1; i >= 0; i-- {
		errs = append(errs, p.stops[i](ctx))
	}
	return errors.Join(errs...)
}

// abort stops what runs already and returns err.
func (p *process) abort(ctx context.Context, err error) error { return errors.Join(err, p.Stop(ctx)) }

// run serves until the part is stopped; an error before that is the process's fault.
func (p *process) run(name string, serve func() error) {
	go func() {
		if err := serve(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			p.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
}

// part is another process that is a part of this one.
type part interface {
	Failed() <-chan error
	Stop(context.Context) error
}

// adopt makes a running process a part of p.
func (p *process) adopt(child part) {
	go func() {
		select {
		case err := <-child.Failed():
			p.fail(err)
		case <-p.stopped:
		}
	}()
	p.onStop(child.Stop)
}

// serveGRPC serves s on l.
func (p *process) serveGRPC(name string, s *rpc.Server, l net.Listener) {
	p.run(name, func() error { return s.Serve(l) })
	p.onStop(func(ctx context.Context) error {
		done := make(chan struct{})
		go func() { s.GracefulStop(); close(done) }()
		select {
		case <-done:
		case <-ctx.Done():
			s.Stop()
			<-done
		}
		return nil
	})
}

// serveHTTP serves an admin or control handler.
func (p *process) serveHTTP(name string, h http.Handler, l net.Listener) {
	server := &http.Server{Handler: h, ReadTimeout: adminTime, WriteTimeout: adminTime}
	p.run(name, func() error { return server.Serve(l) })
	p.onStop(func(ctx context.Context) error { return errors.Join(server.Shutdown(ctx), server.Close()) })
}

// work runs until the process stops, which waits for it to end; an error before that is the process's fault.
func (p *process) work(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			p.fail(err)
		}
	}()
	p.onStop(func(stop context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-stop.Done():
			return stop.Err()
		}
	})
}
