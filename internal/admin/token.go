package admin

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// TokenFile is the name of the file with the token in a state directory.
const TokenFile = "admin.token"

// leastToken is the length of what nobody guesses.
const leastToken = 32

// Token returns the token in the directory state, and the file that holds it. Where
// there is none it makes one of 32 random octets.
func Token(state string) (token, file string, err error) {
	file = filepath.Join(state, TokenFile)
	old, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		token, err = newToken(file)
		return token, file, err
	}
	if err != nil {
		return "", file, fmt.Errorf("token: %w", err)
	}
	if token = strings.TrimSpace(string(old)); len(token) < leastToken {
		return "", file, fmt.Errorf("token: %s holds less than %d characters: remove it, and the node makes another", file, leastToken)
	}
	return token, file, nil
}

// newToken makes a file with a token, at once or not at all.
func newToken(file string) (string, error) {
	var random [32]byte
	rand.Read(random[:])
	token := hex.EncodeToString(random[:])
	f, err := os.CreateTemp(filepath.Dir(file), TokenFile+"-*") // of mode 0600
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return token, nil
}
