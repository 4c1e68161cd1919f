#![no_main]

dmtool_fuzz::target!(last_look);
