package config

// field is one key of the file. The order of the table is the order in which Defaults prints it.
type field struct {
	key      string // with its table: "cluster.listen"
	doc      string
	value    any    // what it is when the file does not say: string, bool, int64; durations and sizes are strings as written in the file
	required bool   // value is an example then
	set      setter // checks a value of the same type as value and stores it
}

// setter stores v in c, or says what would be right.
type setter func(c *Config, v any) error

// tables says what each table is about, in order.
var tables = []struct{ name, doc string }{
	{"", "Quorumail: configuration of one node. What all nodes share is set with \"quorumail set\" instead.\n" +
		"A key that is commented out has the value shown."},
	{"cluster", "How this node talks to the other nodes. These ports must be closed to the rest of the world."},
	{"listeners", "Where clients come in: \"host:port\", \":port\" for every address of this machine, \"\" for off."},
	{"tls", "The certificate for clients; files that change are read again. Leave both out, and the cluster's own CA signs one (ca.pem in the data folder)."},
	{"log", "What goes to standard error."},
	{"raft", "The replicated log."},
	{"limits", "What protects this node."},
	{"dns", "Who is asked where mail for other systems goes."},
	{"delivery", "How mail leaves for other systems."},
}

var fields = []field{
	{"name", "Name of this node, unique in the cluster: letters, digits and hyphens. It can be changed only by replacing the node.",
		"node1", true, text(func(c *Config) *string { return &c.Name }, nodeName)},
	{"hostname", "Host name in greetings, Received fields and certificates. Clients and other servers reach this node under it.",
		"mail1.example.org", true, text(func(c *Config) *string { return &c.Hostname }, hostName)},
	{"data_dir", "Folder for everything that this node keeps. It must be on a local disk; a relative path starts at this file's folder.",
		"/var/lib/quorumail", true, text(func(c *Config) *string { return &c.DataDir }, filePath)},
	{"insecure_loopback_auth", "Accept logins without TLS from this machine itself (127.0.0.1, ::1). For trying things out.",
		false, false, flag(func(c *Config) *bool { return &c.InsecureLoopbackAuth })},

	{"cluster.listen", "Address for the other nodes (TLS).", ":7400", false, text(func(c *Config) *string { return &c.Cluster.Listen }, listenAddress)},
	{"cluster.advertise", "Address under which the other nodes reach cluster.listen. \"\": hostname and the port of cluster.listen.",
		"", false, text(func(c *Config) *string { return &c.Cluster.Advertise }, off(reachableAddress))},
	{"cluster.gossip_listen", "Address for gossip between nodes (UDP and TCP).", ":7401", false, text(func(c *Config) *string { return &c.Cluster.GossipListen }, listenAddress)},
	{"cluster.gossip_advertise", "Address under which the other nodes reach cluster.gossip_listen. \"\": the host of cluster.advertise and the port of cluster.gossip_listen.",
		"", false, text(func(c *Config) *string { return &c.Cluster.GossipAdvertise }, off(reachableAddress))},

	{"listeners.smtp", "Mail from other servers (STARTTLS).", ":25", false, text(func(c *Config) *string { return &c.Listeners.SMTP }, off(listenAddress))},
	{"listeners.submission", "Mail from users (STARTTLS).", ":587", false, text(func(c *Config) *string { return &c.Listeners.Submission }, off(listenAddress))},
	{"listeners.submissions", "Mail from users (TLS from the start).", ":465", false, text(func(c *Config) *string { return &c.Listeners.Submissions }, off(listenAddress))},
	{"listeners.lmtp", "Mail from another mail server on this machine, without login: loopback only.", "", false, text(func(c *Config) *string { return &c.Listeners.LMTP }, off(loopbackAddress))},
	{"listeners.imap", "Mailboxes (STARTTLS).", ":143", false, text(func(c *Config) *string { return &c.Listeners.IMAP }, off(listenAddress))},
	{"listeners.imaps", "Mailboxes (TLS from the start).", ":993", false, text(func(c *Config) *string { return &c.Listeners.IMAPS }, off(listenAddress))},
	{"listeners.admin", "For the quorumail command on this machine: a loopback address, or \"unix:/path\".", "127.0.0.1:7402", false, text(func(c *Config) *string { return &c.Listeners.Admin }, off(adminAddress))},
	{"listeners.metrics", "Metrics for Prometheus (HTTP, /metrics).", "", false, text(func(c *Config) *string { return &c.Listeners.Metrics }, off(listenAddress))},

	{"listeners.proxy_from", "Proxies before this node: addresses and networks with commas between them, \"10.0.0.1, 10.0.1.0/24\". Connections from there to the listeners for mail must begin with a PROXY header, version 1 or 2, which says who the client is; those from elsewhere must not.",
		"", false, func(c *Config, v any) (err error) {
			c.Listeners.ProxyFrom, err = parseNetworks(v.(string))
			return err
		}},

	{"tls.cert", "PEM file with the certificate and its chain.", "", false, text(func(c *Config) *string { return &c.TLS.Cert }, off(filePath))},
	{"tls.key", "PEM file with the private key.", "", false, text(func(c *Config) *string { return &c.TLS.Key }, off(filePath))},

	{"log.level", "debug, info, warn or error.", "info", false, text(func(c *Config) *string { return &c.Log.Level }, oneOf("debug", "info", "warn", "error"))},
	{"log.format", "text or json.", "text", false, text(func(c *Config) *string { return &c.Log.Format }, oneOf("text", "json"))},

	{"raft.log_store", "wal or bolt: how the log lies on disk. Change it only on a node that joins anew.", "wal", false, text(func(c *Config) *string { return &c.Raft.LogStore }, oneOf("wal", "bolt"))},
	{"raft.heartbeat", "After this long without its leader, a node seeks a new one. The same on all nodes; longer for slow links between them.",
		"250ms", false, duration(func(c *Config) *Duration { return &c.Raft.Heartbeat }, minHeartbeat, maxHeartbeat)},
	{"raft.snapshot_entries", "After this many entries the node makes its state durable and cuts its log; four times as many stay for nodes that were away. Where entries are large, both are fewer, so that the log stays below about 1 GiB.",
		int64(65_536), false, number(func(c *Config) *int { return &c.Raft.SnapshotEntries }, 16, 16_777_216)},

	{"limits.min_free_disk", "With less free space than this on the disk of data_dir, the node takes no new mail and still serves what it has.",
		"1GiB", false, size(func(c *Config) *int64 { return &c.Limits.MinFreeDiskBytes }, 16<<20, 1<<50)},
	{"limits.max_connections", "Connections of each listener at once, as many as this machine can bear. smtp.max_connections (\"quorumail set\") can say less for all nodes.", int64(10_000), false, number(func(c *Config) *int { return &c.Limits.MaxConnections }, 1, 1_000_000)},

	{"dns.servers", "Name servers, with commas between them: \"192.0.2.1, [2001:db8::1]:5353\". \"\": those of /etc/resolv.conf.",
		"", false, text(func(c *Config) *string { return &c.DNS.Servers }, nameServers)},
	{"dns.validating", "Those of dns.servers that check DNSSEC and are reached on a way that nobody can change, such as 127.0.0.1. DANE needs one. If there are any, the others are not asked.",
		"", false, text(func(c *Config) *string { return &c.DNS.Validating }, nameServers)},

	{"delivery.port", "Port at which the mail servers of other domains are reached. Not 25 only in closed networks and for trying things out.",
		int64(25), false, number(func(c *Config) *int { return &c.Delivery.Port }, 1, 65_535)},
	{"delivery.source", "Addresses of this machine that mail leaves from: one IPv4, one IPv6 or one of each, with a comma between them. \"\": the system chooses.",
		"", false, text(func(c *Config) *string { return &c.Delivery.Source }, sourceAddresses)},
}
