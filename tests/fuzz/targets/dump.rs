#![no_main]

dmtool_fuzz::target!(dump);
