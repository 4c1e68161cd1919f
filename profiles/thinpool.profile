# Autoextension of one thin pool, see lvmthin(7). Written by dmtool; the pool's name is the file's name.
activation {
	thin_pool_autoextend_threshold=80
	thin_pool_autoextend_percent=20
}
