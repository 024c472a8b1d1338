package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/mesh"
)

// usageError is a mistake on the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// checkFailed: fsck found something.
type checkFailed struct{ error }

// networkError: what should answer cannot be reached.
type networkError struct{ error }

// exitCode is the table of the help text.
func exitCode(err error) int {
	var usage usageError
	var check checkFailed
	var network networkError
	var fault *mesh.Error
	switch {
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "unknown command"), strings.HasPrefix(err.Error(), "required flag"):
		return 2
	case errors.As(err, &check):
		return 6
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return 8
	case errors.As(err, &fault):
		return codeOf(fault.Kind)
	case errors.Is(err, fs.ErrNotExist):
		return 3
	}
	return 1
}

func codeOf(kind mesh.Kind) int {
	switch kind {
	case mesh.UnknownAccount, mesh.UnknownContainer, mesh.ResponseNotFound:
		return 3
	case mesh.Conflict, mesh.AccountRegistered:
		return 5
	case mesh.Overloaded, mesh.RateLimited, mesh.WrongShard:
		return 7
	case mesh.Internal:
		return 1
	}
	return 4
}

// exactly is cobra.ExactArgs with the exit code of a usage error.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("unknown command %q for %q", args[0], cmd.CommandPath())
		}
		return nil
	}, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(children...)
	return cmd
}
