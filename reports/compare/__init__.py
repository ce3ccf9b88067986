"""How two runs, or two folders of runs, differ; and folders merged into one."""
