package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// devTime bounds stopping and starting a provider: what is under way may take its ten seconds.
const devTime = 30 * time.Second

func devCommand() *cobra.Command {
	one := func(verb, short string) *cobra.Command {
		var state string
		cmd := &cobra.Command{
			Use:   verb + " DOMAIN --state FILE",
			Short: short,
			Args:  exactly(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				s, err := stack.ReadState(state)
				if err != nil {
					return err
				}
				return control(cmd.Context(), s.Control, verb, args[0])
			},
		}
		cmd.Flags().StringVar(&state, "state", "", `state file of the running "meshd dev" (required)`)
		_ = cmd.MarkFlagRequired("state")
		return cmd
	}
	return group("dev", `Take providers of a running "meshd dev" down and up`,
		one("stop", "Take a provider down: nothing of it answers, its data stay"),
		one("start", "Bring it up again, at the same addresses"))
}

func control(ctx context.Context, address, verb, domain string) error {
	ctx, cancel := context.WithTimeout(ctx, devTime)
	defer cancel()
	target := url.URL{Scheme: "http", Host: address, Path: "/" + verb, RawQuery: url.Values{"domain": {domain}}.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set(stack.ControlHeader, "meshctl")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return networkError{err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return networkError{err}
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusNotFound:
		return mesh.Errorf("meshctl", mesh.UnknownAccount, "%s", strings.TrimSpace(string(text)))
	}
	return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
}
