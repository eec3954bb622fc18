"""Build, describe and check data sets of rendered face scans, e.g. `python -m dataset_scripts.build_anny --help`."""

from mvfer.extras import explain_missing

explain_missing()  # this runs before the imports of any script here
