"""What ./run_all.sh does once Python is there: the steps, what each reads and makes, and when one
need not run again.

Only the standard library is imported here, so that options are checked and commands shown before
anything is installed.
"""
