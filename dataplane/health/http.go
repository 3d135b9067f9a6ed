package health

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Status codes that count as success unless a monitor says others: 2xx and 3xx.
const (
	DefaultMinStatus = 200
	DefaultMaxStatus = 399
)

// probeHTTP sends a GET over a connection of its own. Redirections are not followed: they are
// answers.
func probeHTTP(ctx context.Context, t Target) error {
	m := t.Monitor
	u := url.URL{Scheme: string(m.Kind), Host: t.Member.String()}
	path, err := url.ParseRequestURI(cmp.Or(m.Path, "/"))
	if err != nil {
		return err
	}
	if path.IsAbs() {
		return fmt.Errorf("%q is no path on the member", m.Path)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.ResolveReference(path).String(), nil)
	if err != nil {
		return err
	}
	req.Host = m.Host
	req.Header.Set("User-Agent", "spkproxy")
	transport := &http.Transport{
		DialContext: dialer(t, tcpFrom).DialContext, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxAnswer,
		// A health monitor asks whether the member answers; who it is was decided by its endpoint.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: m.Host},
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			return wrapped.Err // which says everything but the URL again
		}
		return err
	}
	defer resp.Body.Close()
	return judge(resp, m)
}

// judge holds an answer against what the monitor wants.
func judge(resp *http.Response, m Monitor) error {
	if low, high := cmp.Or(m.MinStatus, DefaultMinStatus), cmp.Or(m.MaxStatus, DefaultMaxStatus); resp.StatusCode < low || resp.StatusCode > high {
		return fmt.Errorf("status %s", resp.Status)
	}
	if m.Body == "" {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if bytes.Contains(body, []byte(m.Body)) {
		return nil
	}
	if err != nil {
		return err
	}
	return unexpected(body, m.Body)
}
