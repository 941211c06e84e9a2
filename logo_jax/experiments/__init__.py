"""One file for each `--mode` of launch.py, each with one function of the mode's name."""
