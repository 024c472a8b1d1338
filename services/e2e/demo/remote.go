package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// remoteService is a deployment that somebody else runs and lets us kill: the end-to-end test, whose roles are separate
// processes. control is the URL of its answers: GET says where everything is, POST /kill, /restart, /away and
// /back do what they say, the last two with one provider.
type remoteService struct {
	d       *demo
	control string
	told    struct { // by the test
		State     string
		Databases []string
		Memory    string
	}
}

func (s *remoteService) ask(method, path string) error {
	req, err := http.NewRequestWithContext(s.d.ctx, method, s.control+path, nil)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 2 * time.Minute} // a restart of every process on a busy machine
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s %s %w", method, path, res.Status, body, err)
	}
	return json.Unmarshal(body, &s.told)
}

func (s *remoteService) start() error   { return s.ask(http.MethodGet, "/") }
func (s *remoteService) kill() error    { return s.ask(http.MethodPost, "/kill") }
func (s *remoteService) restart() error { return s.ask(http.MethodPost, "/restart") }
func (s *remoteService) stop()          {}

func (s *remoteService) away(domain string) error {
	return s.ask(http.MethodPost, "/away?domain="+domain)
}

func (s *remoteService) back(domain string) error {
	return s.ask(http.MethodPost, "/back?domain="+domain)
}

func (s *remoteService) state() string       { return s.told.State }
func (s *remoteService) databases() []string { return s.told.Databases }

func (s *remoteService) where(address string) (string, error) {
	return whereByState(s.d, s.state(), address)
}

func (s *remoteService) memory() string {
	if err := s.ask(http.MethodGet, "/"); err != nil {
		return err.Error()
	}
	return s.told.Memory
}
