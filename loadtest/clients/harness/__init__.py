"""Starting, watching and ending the processes under test. Python's standard library only."""
