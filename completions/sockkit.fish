# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sockkit_global_optspecs
    string join \n h/help V/version
end

function __fish_sockkit_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sockkit_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sockkit_using_subcommand
    set -l cmd (__fish_sockkit_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sockkit -n "__fish_sockkit_needs_command" -s h -l help -d 'Print help'
complete -c sockkit -n "__fish_sockkit_needs_command" -s V -l version -d 'Print version'
complete -c sockkit -n "__fish_sockkit_needs_command" -f -a "serve" -d 'A test server: echoes what it is sent'
complete -c sockkit -n "__fish_sockkit_needs_command" -f -a "connect" -d 'A client: stdin to the peer, the peer to stdout'
complete -c sockkit -n "__fish_sockkit_needs_command" -f -a "probe" -d 'A port check: the exit status is what connect_ex returns'
complete -c sockkit -n "__fish_sockkit_needs_command" -f -a "echo-bench" -d 'A latency test: measures an echo server'
complete -c sockkit -n "__fish_sockkit_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s p -l port -d 'Port to listen on (0: any free one)' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s s -l bind -d 'Address to listen on [default: loopback]' -r -f -a "(__fish_print_hostnames)"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l mode -d 'What to do with those who come' -r -f -a "echo\t'every byte goes back (RFC 862)'
discard\t'every byte is thrown away (RFC 863)'
chargen\t'lines without end, until the peer closes (RFC 864)'
daytime\t'the date and time in words, in UTC, then close (RFC 867)'
time\t'the seconds since 1900 as four bytes, then close (RFC 868)'
send=\t'TEXT, which may have escapes (\\r \\n \\t \\0 \\xHH \\\\), or @FILE, then close'
banner=\t'the same, then echo'
replay=\t'FILE, a record that serve or connect has made: the server\'s half of it'
forward=\t'ENDPOINT, to which each connection, or each peer\'s datagrams, is joined: a proxy for one port'
broker\t'what one peer sends goes to all the others, byte for byte'
chat\t'the same line by line, behind <userN>; who comes and goes is announced'
stdio\t'our stdin and stdout are joined to whoever comes, as nc -l does (--stdio)'"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l grace -d 'At SIGINT or SIGTERM, how long open connections may finish' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l backlog -d 'How many connections may wait to be accepted' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l expect -d 'Compare what comes with a file; when anything differs, the status is 5' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l metrics -d 'Serve the counts to Prometheus: GET /metrics at [HOST:]PORT [default host: loopback]' -r -f -a "(__fish_print_hostnames)"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l summary -d 'How the summary is told on stderr [default: text, none with --json or --quiet]' -r -f -a "text\t'In a sentence'
json\t'As the JSON event'
none\t'Not at all'"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l ready-file -d 'Write the port to a file as soon as the server listens' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l ready-fd -d 'Write the same to an inherited descriptor, and close it' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l then -d 'Run a shell\'s COMMAND once the server listens, and end with it, with its status' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l conns -d 'Serve N connections (or datagrams), then end' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l for -d 'End after so long, whatever happens' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s w -l accept-timeout -d 'Give up when nobody has come for so long, and nobody is there [status: 124]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s W -l idle-timeout -d 'Close a connection when nothing has come or gone for so long' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s m -l max-conns -d 'Most connections at one time [default: what the descriptor limit allows, less 64]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l on-full -d 'What becomes of connections beyond --max-conns' -r -f -a "queue\t'They wait in the system\'s queue until one ends'
close\t'They are accepted and closed: an end without a byte'
reset\t'They are accepted and reset'"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l max-per-ip -d 'Most connections at one time from one address; further ones are closed, or with --on-full=reset reset' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l max-bytes -d 'Close a connection once so many bytes have come on it' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l allow -d 'Let in only peers of this network (repeatable)' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l deny -d 'Refuse peers of this network, also those that --allow names (repeatable)' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l allow-file -d 'Let in only peers of the networks in a file, read again at SIGHUP (repeatable)' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l deny-file -d 'Refuse peers of the networks in a file, read again at SIGHUP (repeatable)' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l record -d 'Record what happens in FILE: as lines of JSON, or as packets if its name ends in .pcapng' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l record-max -d 'Of each direction of a connection, record only the first SIZE bytes' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l replay-match -d 'What must have come before a replay goes on [default: bytes in serve, exact in connect]' -r -f -a "bytes\t'As many bytes as had come then, or datagrams'
exact\t'The same bytes; the first that differs is told, and the status is 5'
none\t'Nothing: everything is sent at its time'"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l replay-speed -d 'How fast a replay goes: 1x as it was, 2x in half the time, max without pauses [default: 1x]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s F -l fault -d 'A fault on purpose, such as delay=50ms or reset,after=1KiB (repeatable)' -r -f -a "(__fish_sockkit_rule)"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l faults -d 'More fault rules, one in each line of a file' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l seed -d 'What fault rules draw follows from this number [default: drawn, and told]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l plan -d 'Print what fault rules would do to connections 1 to N, and end' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s e -l exec -d 'Run PROGRAM, and let it talk to the peer; its arguments come after --' -r -f -a "(__fish_complete_command)"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s c -l sh-exec -d 'The same with a shell\'s command' -r -f -a "(__fish_complete_command)"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s o -l output-file -d 'Save what the peer sends in FILE as well' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s q -l quit-after -d 'Quit when the peer is silent this long after stdin\'s end' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s i -l interval -d 'Send line by line, and wait so long before each next line' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l rate-limit -d 'Send at most so many bytes a second, such as 500K or 1MiB/s' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l color -d 'When to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l trace -d 'Print each socket call as it is made [to: stderr]' -F
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l trace-format -d 'How the trace is written [default: text, json with --json]' -r -f -a "text\t'As strace would: time, call, arguments, result, duration'
json\t'One JSON object a line'"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l nodelay -d 'Send small messages at once [default: on but for probe]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l keepalive -d 'Probe the peer while nothing is sent [default: off]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l keepalive-idle -d 'Idle time before the first keepalive probe' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l keepalive-interval -d 'Time between keepalive probes' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l keepalive-count -d 'Unanswered keepalive probes before the reset' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l linger -d 'How long a close waits for data to be sent; 0: reset' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l ttl -d 'Hops that a packet may take, 1 to 255' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l tos -d 'Type of service: a DSCP name, or the whole byte' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l send-buffer -d 'Size of the send buffer' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l receive-buffer -d 'Size of the receive buffer' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l reuse-address -d 'Bind a port that is in TIME_WAIT [default: on to listen]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l reuse-port -d 'Share the port with other sockets that ask for it too' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l v6-only -d 'Keep IPv4 away from IPv6 sockets' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l bind-device -d 'Use only this network interface' -r -f -a "(__fish_print_interfaces)"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l mark -d 'Mark packets for the firewall and routing' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l priority -d 'Queueing priority of packets' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l congestion -d 'TCP congestion control, such as cubic, reno or bbr' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l mss -d 'Largest TCP segment, in bytes' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l user-timeout -d 'How long sent data may stay unacknowledged' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l quickack -d 'Acknowledge at once, without the delay' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l cork -d 'Hold partial segments back, for up to 200 ms' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l thin-linear-timeouts -d 'Do not double the retransmission time of thin streams' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l notsent-lowat -d 'Unsent bytes at which a socket stops being writable' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l fast-open -d 'TCP Fast Open; for a server the length of its queue' -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l freebind -d 'Bind an address that this machine does not have (yet)' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l transparent -d 'Use addresses of other machines, as a proxy does' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l busy-poll -d 'How long a receive polls the network device' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l incoming-cpu -d 'Serve packets that arrive on this processor' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l broadcast -d 'Allow datagrams to broadcast addresses' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l out-of-band-inline -d 'Receive urgent data in its place among the rest' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l multicast-join -d 'Receive datagrams to this multicast group (repeatable)' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l multicast-source -d 'Only take a joined group\'s datagrams from this address' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l multicast-ttl -d 'Hops that a multicast datagram may take [default: 1]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l multicast-loop -d 'Hear this machine\'s own multicasts [default: on]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l multicast-interface -d 'Send multicasts by this network interface' -r -f -a "(__fish_print_interfaces)"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l multicast-all -d 'Also hear groups that only others joined [default: on]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l stdio -d 'Join stdin and stdout to whoever comes, as `nc -l` does'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s 1 -l once -d 'Serve one connection (or one datagram), then end'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l proxy-protocol -d 'Each connection begins with a header of the PROXY protocol, version 1 or 2'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l record-strict -d 'End when the record cannot be written [status: 4]'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l force -d 'Replace the record\'s FILE if it is there'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l replay-loop -d 'When every connection of the record has been played, begin again with the first, not with the last'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s 4 -l ipv4 -d 'IPv4 only'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s 6 -l ipv6 -d 'IPv6 only'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s u -l udp -d 'Datagrams: UDP, or with -U unix datagrams'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s U -l unix -d 'A unix socket: the target is its PATH, or @NAME for an abstract one'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l seqpacket -d 'A unix socket with connections whose messages stay whole'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s n -l numeric -d 'No name lookups: hosts are addresses'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s x -l hex -d 'Show what goes each way on stderr, in hexadecimal and as text'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s d -l no-stdin -l recv-only -d 'Send nothing: stdin is not read, and there is no half-close'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l send-only -d 'Drop what the peer sends; done when everything has been acknowledged'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l no-shutdown -d 'Do not half-close at stdin\'s end'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s C -l crlf -d 'End the lines of stdin with CR LF'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l timestamps -d 'Begin each line on stdout with the time at which it came'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l raw -d 'Write what the peer sends to a terminal as it is'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s j -l json -d 'JSON lines instead of text'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s v -l verbose -d 'Say more on stderr'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l quiet -d 'Say only errors (serve: and the listening lines)'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -l mptcp -d 'Use Multipath TCP'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s w -l connect-timeout -d 'How long a connection attempt may take' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l retry -d 'When connecting fails, try so many times more' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l wait -d 'Try until it answers, for so long at most [status when it does not: 124]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l retry-pause -d 'Pause so long before each next try' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s W -l idle-timeout -d 'Give up when nothing has come or gone for so long [status: 124]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l max-time -d 'Give up after so long, whatever happens [status: 124]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l hash -d 'Tell the hash of what went each way, on stderr' -r -f -a "sha256\t'SHA-256 (FIPS 180-4), as sha256sum prints it'"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s q -l quit-after -d 'Quit when the peer is silent this long after stdin\'s end' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s i -l interval -d 'Send line by line, and wait so long before each next line' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l rate-limit -d 'Send at most so many bytes a second, such as 500K or 1MiB/s' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l datagram-size -d 'Cut stdin into datagrams of SIZE bytes' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s o -l output-file -d 'Save what the peer sends in FILE as well' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l record -d 'Record what happens in FILE: as lines of JSON, or as packets if its name ends in .pcapng' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l record-max -d 'Of each direction of a connection, record only the first SIZE bytes' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l replay -d 'Play the client\'s half of a record that serve or connect has made; stdin is not read' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l replay-connection -d 'Which connection of the record [default: 1]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l replay-match -d 'What must have come before a replay goes on [default: bytes in serve, exact in connect]' -r -f -a "bytes\t'As many bytes as had come then, or datagrams'
exact\t'The same bytes; the first that differs is told, and the status is 5'
none\t'Nothing: everything is sent at its time'"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l replay-speed -d 'How fast a replay goes: 1x as it was, 2x in half the time, max without pauses [default: 1x]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s F -l fault -d 'A fault on purpose, such as delay=50ms or reset,after=1KiB (repeatable)' -r -f -a "(__fish_sockkit_rule)"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l faults -d 'More fault rules, one in each line of a file' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l seed -d 'What fault rules draw follows from this number [default: drawn, and told]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l plan -d 'Print what fault rules would do to connections 1 to N, and end' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s e -l exec -d 'Run PROGRAM, and let it talk to the peer; its arguments come after --' -r -f -a "(__fish_complete_command)"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s c -l sh-exec -d 'The same with a shell\'s command' -r -f -a "(__fish_complete_command)"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l proxy -d 'Connect through a proxy: SCHEME://[USER@]HOST:PORT' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l proxy-auth-file -d 'Read the proxy\'s USER:PASSWORD from the first line of FILE' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l proxy-protocol -d 'Send a header of the PROXY protocol first' -r -f -a "v1\t'A line of text'
v2\t'A binary block'"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l proxy-protocol-source -d 'Name this as the client\'s address in the header' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l verify -d 'Send SIZE bytes [default: 1MiB] and compare each that comes back [status when one is wrong: 5]' -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l verify-seed -d 'What the data is made of: the same number makes the same data [default: drawn, and told]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l verify-length -d 'How large each datagram is [default: 512]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s s -l source -d 'Address to connect from (unix datagrams: our own PATH)' -r -f -a "(__fish_print_hostnames)"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s p -l source-port -d 'Port to connect from' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l send -d 'Send TEXT; \\r \\n \\t \\0 \\xHH \\\\ are what they are in C' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l send-hex -d 'Send bytes, two hexadecimal digits each' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l expect -d 'Pass over what comes until it matches this regular expression [status when it does not: 5]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l expect-hex -d 'Pass over what comes until these bytes do' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l within -d 'How long each expectation after it may take [default: 10s]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l set -d 'Set a variable: $NAME or ${NAME} in what is sent, expected or set after it' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l script -d 'Carry out the statements in FILE' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l color -d 'When to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l trace -d 'Print each socket call as it is made [to: stderr]' -F
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l trace-format -d 'How the trace is written [default: text, json with --json]' -r -f -a "text\t'As strace would: time, call, arguments, result, duration'
json\t'One JSON object a line'"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l nodelay -d 'Send small messages at once [default: on but for probe]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l keepalive -d 'Probe the peer while nothing is sent [default: off]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l keepalive-idle -d 'Idle time before the first keepalive probe' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l keepalive-interval -d 'Time between keepalive probes' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l keepalive-count -d 'Unanswered keepalive probes before the reset' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l linger -d 'How long a close waits for data to be sent; 0: reset' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l ttl -d 'Hops that a packet may take, 1 to 255' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l tos -d 'Type of service: a DSCP name, or the whole byte' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l send-buffer -d 'Size of the send buffer' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l receive-buffer -d 'Size of the receive buffer' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l reuse-address -d 'Bind a port that is in TIME_WAIT [default: on to listen]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l reuse-port -d 'Share the port with other sockets that ask for it too' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l v6-only -d 'Keep IPv4 away from IPv6 sockets' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l bind-device -d 'Use only this network interface' -r -f -a "(__fish_print_interfaces)"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l mark -d 'Mark packets for the firewall and routing' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l priority -d 'Queueing priority of packets' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l congestion -d 'TCP congestion control, such as cubic, reno or bbr' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l mss -d 'Largest TCP segment, in bytes' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l user-timeout -d 'How long sent data may stay unacknowledged' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l quickack -d 'Acknowledge at once, without the delay' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l cork -d 'Hold partial segments back, for up to 200 ms' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l thin-linear-timeouts -d 'Do not double the retransmission time of thin streams' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l notsent-lowat -d 'Unsent bytes at which a socket stops being writable' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l fast-open -d 'TCP Fast Open; for a server the length of its queue' -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l freebind -d 'Bind an address that this machine does not have (yet)' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l transparent -d 'Use addresses of other machines, as a proxy does' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l busy-poll -d 'How long a receive polls the network device' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l incoming-cpu -d 'Serve packets that arrive on this processor' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l broadcast -d 'Allow datagrams to broadcast addresses' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l out-of-band-inline -d 'Receive urgent data in its place among the rest' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l multicast-join -d 'Receive datagrams to this multicast group (repeatable)' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l multicast-source -d 'Only take a joined group\'s datagrams from this address' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l multicast-ttl -d 'Hops that a multicast datagram may take [default: 1]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l multicast-loop -d 'Hear this machine\'s own multicasts [default: on]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l multicast-interface -d 'Send multicasts by this network interface' -r -f -a "(__fish_print_interfaces)"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l multicast-all -d 'Also hear groups that only others joined [default: on]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s z -l connect-only -d 'Connect, say so, and close'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s k -l keep-open -d 'Stay when the peer has finished, until stdin ends'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l progress -d 'Show bytes and rate on stderr while it is a terminal, and the time left when stdin is a file'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l no-editing -d 'Leave what is typed to the terminal'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s d -l no-stdin -l recv-only -d 'Send nothing: stdin is not read, and there is no half-close'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l send-only -d 'Drop what the peer sends; done when everything has been acknowledged'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l no-shutdown -d 'Do not half-close at stdin\'s end'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s C -l crlf -d 'End the lines of stdin with CR LF'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l timestamps -d 'Begin each line on stdout with the time at which it came'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l raw -d 'Write what the peer sends to a terminal as it is'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l per-line -d 'Send each line of stdin as one datagram, without its end'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l empty -d 'Send an empty datagram for an empty stdin, and with --per-line for an empty line'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s x -l hex -d 'Show what goes each way on stderr, in hexadecimal and as text'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l record-strict -d 'End when the record cannot be written [status: 4]'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l force -d 'Replace the record\'s FILE if it is there'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s 4 -l ipv4 -d 'IPv4 only'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s 6 -l ipv6 -d 'IPv6 only'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s u -l udp -d 'Datagrams: UDP, or with -U unix datagrams'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s U -l unix -d 'A unix socket: the target is its PATH, or @NAME for an abstract one'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l seqpacket -d 'A unix socket with connections whose messages stay whole'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s n -l numeric -d 'No name lookups: hosts are addresses'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l send-eof -d 'Half-close: nothing can be sent after it'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l expect-eof -d 'Pass over what comes until the peer finishes'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l expect-reset -d 'Pass over what comes until the peer resets'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l interact -d 'Join stdin and stdout to the peer when the script is done'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s j -l json -d 'JSON lines instead of text'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s v -l verbose -d 'Say more on stderr'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l quiet -d 'Say only errors (serve: and the listening lines)'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -l mptcp -d 'Use Multipath TCP'
complete -c sockkit -n "__fish_sockkit_using_subcommand connect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s w -l timeout -d 'How long an attempt may take' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s c -l count -d 'Measure each target so many times, as ping does' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s i -l interval -d 'Pause between attempts [default: 1s with -c, else 250ms]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s o -l output-format -d 'What is printed for a target' -r -f -a "text\t'A line for people'
errno\t'The number that connect_ex returns: 0, or the errno (-1 where a name was not found)'
errname\t'Its name, the same on every system: OK, ECONNREFUSED, EAI_NONAME'
json\t'A JSON object (as --json), in the order of the targets'
ndjson\t'A JSON object as soon as it is known, and one that sums up'
csv\t'Comma-separated values with a heading (RFC 4180)'
grep\t'Tab-separated: state, protocol, address, port, errname, target'
prometheus\t'The text format of Prometheus, for its textfile collector'
nagios\t'One line with performance data, as monitoring plugins print it'"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l deadline -d 'How long everything may take' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l wait -d 'Probe until a target is so, or until the deadline' -r -f -a "open\t'Somebody answers, and the checks that were asked for pass'
closed\t'A refusal, and nothing else: the host is there and nobody listens'
down\t'Anything but an answer: refused, silent or unreachable'"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l retries -d 'Probe a target that fails so many times more' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l backoff -d 'Multiply the pause by this each time, up to 30 s' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l stable -d 'Open only if the peer stays so long, without end or reset' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l send -d 'Send this when connected; over UDP it is the question' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l expect -d 'Open only if the answer matches this regular expression' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l addr -d 'Which addresses of a name' -r -f -a "first\t'Only the first'
any\t'All until one answers'
all\t'Each, as a target of its own'"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l require -d 'How many targets must be as wanted [default: all; any with a range]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l exclude -d 'Leave these out: HOST, HOST:PORTS, network or PORTS (repeatable)' -r -f -a "(__fish_print_hostnames)"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l proxy -d 'Connect through a proxy: SCHEME://[USER@]HOST:PORT' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l proxy-auth-file -d 'Read the proxy\'s USER:PASSWORD from the first line of FILE' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l parallel -d 'Connects under way at a time [default: 1024]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l rate -d 'Targets begun a second, at most' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l limit -d 'Probe only the first N targets' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l exit-code -d 'What the exit status means [default: errno; nagios with -o nagios]' -r -f -a "errno\t'0, or the errno of the first target that failed'
class\t'The table of the other commands: the same on every system'
simple\t'0 open, 1 not open, 2 usage'
nagios\t'0 OK, 2 CRITICAL, 3 UNKNOWN (the probe itself failed)'"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s s -l source -d 'Address to connect from (unix datagrams: our own PATH)' -r -f -a "(__fish_print_hostnames)"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s p -l source-port -d 'Port to connect from' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l color -d 'When to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l trace -d 'Print each socket call as it is made [to: stderr]' -F
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l trace-format -d 'How the trace is written [default: text, json with --json]' -r -f -a "text\t'As strace would: time, call, arguments, result, duration'
json\t'One JSON object a line'"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l nodelay -d 'Send small messages at once [default: on but for probe]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l keepalive -d 'Probe the peer while nothing is sent [default: off]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l keepalive-idle -d 'Idle time before the first keepalive probe' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l keepalive-interval -d 'Time between keepalive probes' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l keepalive-count -d 'Unanswered keepalive probes before the reset' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l linger -d 'How long a close waits for data to be sent; 0: reset' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l ttl -d 'Hops that a packet may take, 1 to 255' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l tos -d 'Type of service: a DSCP name, or the whole byte' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l send-buffer -d 'Size of the send buffer' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l receive-buffer -d 'Size of the receive buffer' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l reuse-address -d 'Bind a port that is in TIME_WAIT [default: on to listen]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l reuse-port -d 'Share the port with other sockets that ask for it too' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l v6-only -d 'Keep IPv4 away from IPv6 sockets' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l bind-device -d 'Use only this network interface' -r -f -a "(__fish_print_interfaces)"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l mark -d 'Mark packets for the firewall and routing' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l priority -d 'Queueing priority of packets' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l congestion -d 'TCP congestion control, such as cubic, reno or bbr' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l mss -d 'Largest TCP segment, in bytes' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l user-timeout -d 'How long sent data may stay unacknowledged' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l quickack -d 'Acknowledge at once, without the delay' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l cork -d 'Hold partial segments back, for up to 200 ms' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l thin-linear-timeouts -d 'Do not double the retransmission time of thin streams' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l notsent-lowat -d 'Unsent bytes at which a socket stops being writable' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l fast-open -d 'TCP Fast Open; for a server the length of its queue' -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l freebind -d 'Bind an address that this machine does not have (yet)' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l transparent -d 'Use addresses of other machines, as a proxy does' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l busy-poll -d 'How long a receive polls the network device' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l incoming-cpu -d 'Serve packets that arrive on this processor' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l broadcast -d 'Allow datagrams to broadcast addresses' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l out-of-band-inline -d 'Receive urgent data in its place among the rest' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l multicast-join -d 'Receive datagrams to this multicast group (repeatable)' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l multicast-source -d 'Only take a joined group\'s datagrams from this address' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l multicast-ttl -d 'Hops that a multicast datagram may take [default: 1]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l multicast-loop -d 'Hear this machine\'s own multicasts [default: on]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l multicast-interface -d 'Send multicasts by this network interface' -r -f -a "(__fish_print_interfaces)"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l multicast-all -d 'Also hear groups that only others joined [default: on]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l watch -d 'The same until ^C'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l banner -d 'Show the first that the peer says'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l open -d 'Print only what is open'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l yes -d 'Probe more than a million targets without asking'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s 4 -l ipv4 -d 'IPv4 only'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s 6 -l ipv6 -d 'IPv6 only'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s u -l udp -d 'Datagrams: UDP, or with -U unix datagrams'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s U -l unix -d 'A unix socket: the target is its PATH, or @NAME for an abstract one'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s n -l numeric -d 'No name lookups: hosts are addresses'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s j -l json -d 'JSON lines instead of text'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s v -l verbose -d 'Say more on stderr'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l quiet -d 'Say only errors (serve: and the listening lines)'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -l mptcp -d 'Use Multipath TCP'
complete -c sockkit -n "__fish_sockkit_using_subcommand probe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s c -l connections -d 'Connections' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s t -l time -d 'How long to measure [default: 5s]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s n -l messages -d 'How many messages to send, in all, instead of a time' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s l -l length -d 'How long a message is, in bytes: 64, 64..1400, or 64:9,1400:1' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s r -l rate -d 'Messages a second, over all connections: an open loop' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l arrival -d 'How planned messages follow each other' -r -f -a "uniform\t'At equal distances'
poisson\t'At random, as many independent clients would (a Poisson process)'"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l window -d 'Messages under way on each connection, in a closed loop' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l reconnect -d 'Make each connection anew after so many messages' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s i -l interval -d 'Also tell what happened every so often, while it does' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s w -l connect-timeout -d 'How long a connection attempt may take' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s W -l reply-timeout -d 'How long an answer may take [default: 1s for datagrams, else 10s]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l warm-up -d 'What comes before the measurement: auto, or a time [default: auto with a time]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l threads -d 'Threads [default: one a core, at most one a connection; 1 with -r]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l seed -d 'What random choices begin with [default: drawn, and shown]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l slo -d 'A condition that the result must fulfil, else status 5: p99<1ms' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l search -d 'Look for the highest rate that fulfils a condition: p99<1ms' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l ramp -d 'Measure at ten rates, one after the other: 1000..20k' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l runs -d 'How many runs, each with new connections [default: 1; 5 to save or compare]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l save -d 'Keep the result in a file, for --baseline and --merge' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l baseline -d 'Compare with a result that was kept' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l fail-on-regression -d 'Status 5 if a percentile is surely worse, and by this much: 5%' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l html -d 'Write the whole report to one HTML page' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l svg -d 'Write the charts to an SVG file' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l csv -d 'Write each interval to a CSV file' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l hlog -d 'Write each interval\'s histogram to a HdrHistogram log' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l percentiles -d 'The percentiles to tell: 50,90,99.9' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l cpu -d 'Keep threads on these CPUs, in turn: 0,1' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l merge -d 'Add up results, of --save or --hlog, instead of measuring' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l start-at -d 'Connect, then wait for this time: 2026-01-31T12:00:00Z' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s F -l fault -d 'A fault on purpose, such as delay=50ms or reset,after=1KiB (repeatable)' -r -f -a "(__fish_sockkit_rule)"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l faults -d 'More fault rules, one in each line of a file' -r -F
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l color -d 'When to colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l trace -d 'Print each socket call as it is made [to: stderr]' -F
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l trace-format -d 'How the trace is written [default: text, json with --json]' -r -f -a "text\t'As strace would: time, call, arguments, result, duration'
json\t'One JSON object a line'"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l nodelay -d 'Send small messages at once [default: on but for probe]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l keepalive -d 'Probe the peer while nothing is sent [default: off]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l keepalive-idle -d 'Idle time before the first keepalive probe' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l keepalive-interval -d 'Time between keepalive probes' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l keepalive-count -d 'Unanswered keepalive probes before the reset' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l linger -d 'How long a close waits for data to be sent; 0: reset' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l ttl -d 'Hops that a packet may take, 1 to 255' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l tos -d 'Type of service: a DSCP name, or the whole byte' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l send-buffer -d 'Size of the send buffer' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l receive-buffer -d 'Size of the receive buffer' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l reuse-address -d 'Bind a port that is in TIME_WAIT [default: on to listen]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l reuse-port -d 'Share the port with other sockets that ask for it too' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l v6-only -d 'Keep IPv4 away from IPv6 sockets' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l bind-device -d 'Use only this network interface' -r -f -a "(__fish_print_interfaces)"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l mark -d 'Mark packets for the firewall and routing' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l priority -d 'Queueing priority of packets' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l congestion -d 'TCP congestion control, such as cubic, reno or bbr' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l mss -d 'Largest TCP segment, in bytes' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l user-timeout -d 'How long sent data may stay unacknowledged' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l quickack -d 'Acknowledge at once, without the delay' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l cork -d 'Hold partial segments back, for up to 200 ms' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l thin-linear-timeouts -d 'Do not double the retransmission time of thin streams' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l notsent-lowat -d 'Unsent bytes at which a socket stops being writable' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l fast-open -d 'TCP Fast Open; for a server the length of its queue' -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l freebind -d 'Bind an address that this machine does not have (yet)' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l transparent -d 'Use addresses of other machines, as a proxy does' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l busy-poll -d 'How long a receive polls the network device' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l incoming-cpu -d 'Serve packets that arrive on this processor' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l broadcast -d 'Allow datagrams to broadcast addresses' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l out-of-band-inline -d 'Receive urgent data in its place among the rest' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l multicast-join -d 'Receive datagrams to this multicast group (repeatable)' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l multicast-source -d 'Only take a joined group\'s datagrams from this address' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l multicast-ttl -d 'Hops that a multicast datagram may take [default: 1]' -r -f
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l multicast-loop -d 'Hear this machine\'s own multicasts [default: on]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l multicast-interface -d 'Send multicasts by this network interface' -r -f -a "(__fish_print_interfaces)"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l multicast-all -d 'Also hear groups that only others joined [default: on]' -f -a "on\t''
off\t''"
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l spin -d 'Wait for answers without sleeping, for the shortest round trip; takes a CPU for each thread'
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s 4 -l ipv4 -d 'IPv4 only'
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s 6 -l ipv6 -d 'IPv6 only'
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s u -l udp -d 'Datagrams: UDP, or with -U unix datagrams'
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s U -l unix -d 'A unix socket: the target is its PATH, or @NAME for an abstract one'
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s j -l json -d 'JSON lines instead of text'
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s v -l verbose -d 'Say more on stderr'
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l quiet -d 'Say only errors (serve: and the listening lines)'
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -l mptcp -d 'Use Multipath TCP'
complete -c sockkit -n "__fish_sockkit_using_subcommand echo-bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockkit -n "__fish_sockkit_using_subcommand help; and not __fish_seen_subcommand_from serve connect probe echo-bench help" -f -a "serve" -d 'A test server: echoes what it is sent'
complete -c sockkit -n "__fish_sockkit_using_subcommand help; and not __fish_seen_subcommand_from serve connect probe echo-bench help" -f -a "connect" -d 'A client: stdin to the peer, the peer to stdout'
complete -c sockkit -n "__fish_sockkit_using_subcommand help; and not __fish_seen_subcommand_from serve connect probe echo-bench help" -f -a "probe" -d 'A port check: the exit status is what connect_ex returns'
complete -c sockkit -n "__fish_sockkit_using_subcommand help; and not __fish_seen_subcommand_from serve connect probe echo-bench help" -f -a "echo-bench" -d 'A latency test: measures an echo server'
complete -c sockkit -n "__fish_sockkit_using_subcommand help; and not __fish_seen_subcommand_from serve connect probe echo-bench help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockkit -n "__fish_sockkit_using_subcommand serve connect probe echo-bench" -a "(__fish_print_hostnames)"

function __fish_sockkit_rule
    set -l typed (commandline -ct | string replace --regex '^(--fault=|-[a-zA-Z]*F)' '')
    set -l before (string match --regex '^.*,' -- $typed)
    if test -n "$before"
        printf '%s\n' $before(printf '%s\t%s\n' 'after=' 'once so many bytes, so much time, or so many lines or datagrams have passed' 'conn=' 'only these connections; the first accepted is 1' 'every=' 'only every Nth connection, or datagram' 'chance=' 'with this probability; drawn once for each connection, or datagram' 'dir=' 'what this side receives, or sends [default: out]' 'from=' 'only peers of this network' 'times=' 'at most so many connections, datagrams, or cycles of flap' 'for=' 'only for so long (stall, shaping, payload, datagrams)')
    else
        printf '%s\t%s\n' 'refuse=' 'nobody listens for so long: connection refused' 'blackhole' 'connects get no answer: they time out' 'no-accept' 'connects succeed as far as the backlog goes, and nobody accepts' 'flap=' 'the port is there and gone in turn' 'close' 'FIN; what still comes is drained, then closed' 'reset' 'RST: connection reset by peer (tcp)' 'half-close' 'FIN, and what still comes is taken' 'stall' 'nothing moves any more, and nothing is closed' 'delay-close=' 'the FIN that is due comes so much later' 'delay=' 'what passes is late' 'rate=' 'so many bytes a second' 'chunk=' 'so many bytes at a time, with a pause after each (streams)' 'buffer=' 'the kernel'\''s buffers, both unless dir= chooses one' 'mss=' 'the largest segment (tcp)' 'corrupt=' 'so many bytes are changed: the next N, or N in each SIZE' 'garbage=' 'so many random bytes: put in (streams), or instead of what was sent (datagrams)' 'drop' 'a datagram is lost' 'dup' 'a datagram comes N times more [default: 1]' 'reorder=' 'a datagram is overtaken by so many others, for a second at most' 'truncate=' 'a datagram keeps only so many bytes'
    end
end
