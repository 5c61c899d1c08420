package state

// SecretNames lists the names of the cluster's secrets that begin with a prefix, in order.
func (v *View) SecretNames(prefix string) (names []string, err error) {
	err = each(v, key(tabSecret, prefix), func(rest, _ []byte) (bool, error) {
		names = append(names, prefix+string(rest))
		return true, nil
	})
	return names, err
}
