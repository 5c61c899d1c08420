//go:build broken

package main

// buildTags are those of this test, for the program that it builds.
const buildTags = "broken"
