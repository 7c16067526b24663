package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/project-iris/iris/internal/localsock"
)

// Ask asks the node whose state directory is given for a path, such as /status, and
// decodes its answer into v. Where no node runs the error is fs.ErrNotExist or
// ECONNREFUSED.
func Ask(ctx context.Context, state, path string, v any) error {
	body, err := Open(ctx, state, path)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return asking(state, err)
	}
	return nil
}

// Open asks as Ask does, and returns the answer as it comes, for the caller to close.
func Open(ctx context.Context, state, path string) (io.ReadCloser, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return localsock.DialTrusted(filepath.Join(state, Socket))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://iris"+path, nil)
	if err != nil {
		return nil, asking(state, err)
	}
	resp, err := client.Do(req)
	if urlErr := (*url.Error)(nil); errors.As(err, &urlErr) {
		err = urlErr.Err // without an address that means nothing to people
	}
	if err != nil {
		return nil, asking(state, err)
	}
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		resp.Body.Close()
		return nil, asking(state, fmt.Errorf("it answered %s: %s", resp.Status, strings.TrimSpace(string(why))))
	}
	return resp.Body, nil
}

func asking(state string, err error) error {
	return fmt.Errorf("ask the node in %s: %w", state, err)
}
