// Package freeze stops a running program as a whole, and knows when none of its instructions is carried out any more.
//
// Data flow: SIGSTOP goes in; /proc tells of each thread whether it stands; SIGCONT lets the program go on, unless somebody else had stopped it
// before. There are no goroutines.
package freeze
