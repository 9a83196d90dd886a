"""The command line: everything that starts a process or talks to a server. Not part of the published pack."""
