package coordinator

import (
	"errors"
	"fmt"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// outcome is a proposal's error in the coordinator's words: a decision of the image stays one; a command that is too
// large is the group's fault; anything else (no leader, a stopping quorum, a broker that was fenced) is that the
// coordinator is not available, and the client looks for it again.
func outcome(err error) error {
	var refusal *image.Refusal
	switch {
	case err == nil:
		return nil
	case errors.Is(err, command.ErrTooLarge):
		return fmt.Errorf("%w: %v", group.ErrTooLarge, err)
	case errors.As(err, &refusal) && !errors.Is(err, image.ErrFenced):
		return err
	}
	return fmt.Errorf("%w: %v", group.ErrNotAvailable, err)
}
