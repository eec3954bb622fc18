"""Build, describe and check data sets of rendered face scans, e.g. `python -m dataset_scripts.build_anny --help`."""
