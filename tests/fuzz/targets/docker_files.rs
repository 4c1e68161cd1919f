#![no_main]

dmtool_fuzz::target!(docker_files);
