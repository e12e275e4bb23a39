package main

import (
	"context"
	"net"
	"net/http"
	"time"
)

// newHTTPClient returns a client that gives up a connection which is silent for longer than maxSilence.
// http.Client.Timeout would end a stream that works, because it limits the whole response.
func newHTTPClient(maxSilence time.Duration) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &silenceConn{conn, maxSilence}, nil
	}
	return &http.Client{Transport: transport}
}

type silenceConn struct {
	net.Conn
	maxSilence time.Duration
}

func (c *silenceConn) Read(buffer []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.maxSilence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(buffer)
}
