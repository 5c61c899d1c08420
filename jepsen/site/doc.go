// Package site plays the mail server of another site: it takes mail by SMTP, notes each copy in the history, and fails as told.
//
// # Data flow
//
// A node connects to the listener that Start was given. What it sends is read whole, told by the fields that package client put into the
// message, checked, and recorded as an operation of kind "sink" for each recipient: OK when the answer to the data was 250, Unknown when there was
// none although the message was kept. Recipients whose local part begins with Refused are refused for good;
// all others are taken, unless a Fault says otherwise.
//
// # Goroutines
//
// Those of the SMTP server, one for each connection and one that accepts them. Close ends them and awaits the last.
package site
