package link

import (
	"fmt"
	"io"

	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
)

func readHello(c io.Reader) (wire.Hello, error) {
	return session.ReadFirst(c, wire.TypeHello, wire.ParseHello)
}

func readWelcome(c io.Reader) (wire.Welcome, error) {
	w, err := session.ReadFirst(c, wire.TypeWelcome, wire.ParseWelcome)
	if err != nil {
		return wire.Welcome{}, err
	}
	return w, refusal(w.Result)
}

// refusal is the error that a Welcome's result stands for.
func refusal(result byte) error {
	code := session.FirstFrame
	switch result {
	case wire.ResultUp:
		return nil
	case wire.ResultTie:
		code = session.WelcomeTie
	case wire.ResultFull:
		code = session.WelcomeFull
	case wire.ResultLeaving:
		code = session.WelcomeLeaving
	case wire.ResultUnknownLink:
		code = session.LinkUnknown
	}
	return &session.Error{Code: code, Err: fmt.Errorf("the other node answered %d to HELLO", result)}
}
