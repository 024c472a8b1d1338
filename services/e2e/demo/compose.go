package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// composeService is the stack of docker-compose.yml, brought up and taken down by its caller.
type composeService struct {
	d       *demo
	command string // docker compose with its files, space separated
}

// The services of docker-compose.yml that take requests.
var composeRoles = []string{
	"alpha-gateway", "alpha-shard-0", "alpha-shard-1", "beta-gateway", "beta-shard-0", "beta-shard-1",
}

func (s *composeService) run(args ...string) (string, error) {
	words := append(strings.Fields(s.command), args...)
	cmd := exec.CommandContext(s.d.ctx, words[0], words[1:]...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

func (s *composeService) state() string { return os.Getenv("MESH_COMPOSE_STATE") }
func (s *composeService) start() error {
	_, err := s.run("up", "-d", "--wait", "--wait-timeout", "180")
	return err
}

// kill ends every gateway and shard at once, the databases stay.
func (s *composeService) kill() error {
	_, err := s.run(append([]string{"kill", "-s", "KILL"}, composeRoles...)...)
	return err
}
func (s *composeService) restart() error { return s.start() }
func (s *composeService) stop()          {}

// away stops the gateway of a provider, by which alone others reach it.
func (s *composeService) away(domain string) error {
	name, _, _ := strings.Cut(domain, ".")
	_, err := s.run("stop", name+"-gateway")
	return err
}
func (s *composeService) back(string) error { return s.start() }

func (s *composeService) databases() []string {
	return strings.Fields(os.Getenv("MESH_COMPOSE_DATABASES"))
}

func (s *composeService) where(address string) (string, error) {
	provider := strings.SplitN(address[strings.LastIndexByte(address, '@')+1:], ".", 2)[0]
	out, err := s.run("run", "--rm", "-T", provider+"-meshctl", "account", "where", address,
		"--shard-map", "/etc/meshd/shardmap.yaml", "--pki", "/run/meshd/pki", "-o", "json")
	if err != nil {
		return "", err
	}
	var v struct{ Shard string }
	err = json.Unmarshal([]byte(out), &v)
	return v.Shard, err
}

func (s *composeService) memory() string {
	out, err := s.run("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}")
	if err != nil {
		return err.Error()
	}
	return "\n" + out
}
