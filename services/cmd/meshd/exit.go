package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// usageError is a mistake on the command line.
type usageError struct{ error }

// exitCode: 1 error, 2 usage, as every tool of this repository.
func exitCode(err error) int {
	var usage usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
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

// running is a role at work.
type running interface {
	Failed() <-chan error
	Stop(context.Context) error
}

// untilSignal waits for a signal or a fault, then stops the role.
func untilSignal(ctx context.Context, role running) error {
	var fault error
	select {
	case <-ctx.Done():
	case fault = <-role.Failed():
	}
	if err := role.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fault = errors.Join(fault, fmt.Errorf("stopping: %w", err))
	}
	return fault
}
