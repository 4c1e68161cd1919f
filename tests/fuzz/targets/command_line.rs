#![no_main]

dmtool_fuzz::target!(command_line);
