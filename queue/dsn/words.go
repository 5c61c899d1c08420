package dsn

// advice is what is said of one reason.
type advice struct {
	what string // what happened
	todo string // what the reader can do
}

// words are all that the text for people says, in one language.
type words struct {
	subject [DoubleBounce + 1]string // of the notice, before the subject of the message
	greet   string                   // who writes; %s is the host
	other   string                   // where the other language is; in the first one only
	intro   [DoubleBounce + 1]string // what happened to the message as a whole
	about   string                   // %s is the subject of the message
	arrived string                   // %s is when it was accepted
	failed  [reasons]advice
	plain   [Expanded + 1]advice // of actions that are no failures
	until   string               // %s is when attempts end
	answer  string               // before a quotation; %s is the host
	tried   string               // before our own words about a host that was tried; %s is the host
	own     string               // before our own words
	more    string               // %d is how many recipients are not listed
	back    [3]string            // what comes back: nothing, the header, all
}

// Written for people who know nothing of mail servers: no codes, no protocol names where they can be avoided.
func vietnamese() *words {
	const admin = "Nếu cần giúp đỡ, vui lòng chuyển tiếp thông báo này cho người quản trị hệ thống thư của bạn."
	return &words{
		subject: [...]string{
			Failed: "Không gửi được thư", Delayed: "Thư bị gửi chậm", Delivered: "Thư đã đến nơi", Relayed: "Thư đã được chuyển đi", Expanded: "Thư đã được chuyển đến danh sách",
			DoubleBounce: "Không gửi được thông báo",
		},
		greet: "Đây là thông báo tự động của máy chủ thư %s.",
		other: "(The same in English: see below.)",
		intro: [...]string{
			Failed:       "Rất tiếc, thư của bạn không gửi được đến người nhận dưới đây.",
			Delayed:      "Thư của bạn chưa gửi được đến người nhận dưới đây. Đây chỉ là thông báo về việc chậm trễ: bạn không cần gửi lại thư.",
			Delivered:    "Theo yêu cầu của bạn, chúng tôi xác nhận thư đã đến hộp thư của người nhận dưới đây.",
			Relayed:      "Theo yêu cầu của bạn, chúng tôi xin báo rằng thư đã được giao cho máy chủ của người nhận dưới đây.",
			Expanded:     "Theo yêu cầu của bạn, chúng tôi xin báo rằng thư đã được chuyển đến các thành viên của danh sách dưới đây.",
			DoubleBounce: "Kính gửi người quản trị: một thông báo lỗi không gửi được đến người dưới đây, nên người đó chưa biết thư của mình không đến nơi.",
		},
		about:   "Tiêu đề thư: %s",
		arrived: "Máy chủ nhận thư để gửi lúc: %s",
		failed: [...]advice{
			other:       {"Máy chủ bên nhận không nhận thư này.", "Vui lòng đọc lý do bên dưới. " + admin},
			noUser:      {"Địa chỉ này không tồn tại ở bên nhận.", "Vui lòng kiểm tra lại địa chỉ, nhất là phần trước dấu @, rồi gửi lại thư."},
			noDomain:    {"Phần sau dấu @ của địa chỉ không tồn tại hoặc không nhận thư.", "Vui lòng kiểm tra lại phần sau dấu @ của địa chỉ, rồi gửi lại thư."},
			mailboxFull: {"Hộp thư của người nhận đã đầy.", "Vui lòng báo cho người nhận bằng cách khác, ví dụ gọi điện, rồi gửi lại thư sau."},
			suspended:   {"Hộp thư của người nhận đang bị khóa hoặc không còn được dùng.", "Vui lòng liên hệ với người nhận bằng cách khác."},
			tooLarge:    {"Thư lớn hơn mức bên nhận cho phép.", "Vui lòng gửi thư nhỏ hơn: bỏ bớt tệp đính kèm, chia thành nhiều thư, hoặc gửi đường dẫn để tải về."},
			refused:     {"Bên nhận từ chối thư theo quy định của họ; có thể họ cho rằng đây là thư rác.", "Vui lòng liên hệ với người nhận bằng cách khác và nhờ họ cho phép thư của bạn. " + admin},
			badSender:   {"Bên nhận không chấp nhận địa chỉ người gửi.", "Vui lòng kiểm tra lại địa chỉ người gửi trong phần mềm thư của bạn. " + admin},
			unreachable: {"Chúng tôi đã thử nhiều lần nhưng không giao được thư cho máy chủ bên nhận, và đã ngừng thử.", "Vui lòng gửi lại thư sau. Nếu vẫn không được, hãy liên hệ với người nhận bằng cách khác."},
			needsTLS:    {"Thư này phải được gửi qua đường truyền mã hóa, nhưng máy chủ bên nhận không đáp ứng được.", "Thư chưa hề được gửi đi khi không mã hóa. " + admin},
			needsUTF8:   {"Địa chỉ hoặc phần đầu thư có chữ có dấu mà máy chủ bên nhận không hỗ trợ.", "Vui lòng dùng địa chỉ chỉ gồm chữ cái không dấu, cho cả người gửi và người nhận."},
			conversion:  {"Nội dung thư ở dạng mà máy chủ bên nhận không nhận được.", "Vui lòng gửi lại nội dung ở dạng khác, ví dụ trong một tệp đính kèm."},
			loop:        {"Thư bị chuyển vòng quanh giữa các máy chủ nên đã bị chặn lại.", "Nguyên nhân là việc chuyển tiếp thư được đặt sai ở đâu đó. " + admin},
			stopped:     {"Thư đã bị giữ lại ngay tại hệ thống của chúng tôi, do người quản trị hoặc theo quy định ở đây; thư chưa được gửi đến bên nhận.", "Vui lòng đọc lý do bên dưới. " + admin},
			local:       {"Hệ thống của chúng tôi không giao được thư này.", "Vui lòng đọc lý do bên dưới. " + admin},
		},
		plain: [...]advice{
			Delayed:   {"Máy chủ bên nhận tạm thời chưa nhận thư.", "Bạn không cần làm gì. Chúng tôi vẫn tiếp tục thử."},
			Delivered: {"Thư đã vào hộp thư.", ""},
			Relayed:   {"Thư đã được giao cho máy chủ tiếp theo. Máy chủ đó không gửi xác nhận, nên có thể bạn sẽ không nhận được thông báo nào nữa.", ""},
			Expanded:  {"Thư đã được chuyển đến các thành viên. Sẽ không có xác nhận riêng cho từng người.", ""},
		},
		until:  "Nếu đến %s thư vẫn chưa gửi được, bạn sẽ nhận được thông báo khác.",
		answer: "Máy chủ %s trả lời:",
		tried:  "Lý do kỹ thuật, khi liên lạc với máy chủ %s:",
		own:    "Lý do kỹ thuật:",
		more:   "… và %d người nhận khác; danh sách đầy đủ nằm ở phần thứ hai của thông báo này.",
		back:   [...]string{"", "Phần đầu của thư được gửi kèm thông báo này.", "Thư của bạn được gửi kèm thông báo này."},
	}
}

func english() *words {
	const admin = "If you need help, forward this notice to whoever looks after your mail."
	return &words{
		subject: [...]string{
			Failed: "Undelivered mail", Delayed: "Delayed mail", Delivered: "Delivered mail", Relayed: "Relayed mail", Expanded: "Mail sent on to a list",
			DoubleBounce: "Undeliverable notice",
		},
		greet: "This is an automatic notice of the mail server %s.",
		intro: [...]string{
			Failed:       "Your message could not be delivered to the recipients below.",
			Delayed:      "Your message could not be delivered to the recipients below so far. This is only a warning: there is no need to send it again.",
			Delivered:    "As you asked, we confirm that your message is in the mailboxes of the recipients below.",
			Relayed:      "As you asked, we tell you that your message was handed to the servers of the recipients below.",
			Expanded:     "As you asked, we tell you that your message was sent on to the members of the lists below.",
			DoubleBounce: "To the postmaster: a notice could not be delivered to those below, who therefore do not know that their own message did not arrive.",
		},
		about:   "Subject of the message: %s",
		arrived: "Accepted: %s",
		failed: [...]advice{
			other:       {"The receiving server did not take the message.", "See the reason below. " + admin},
			noUser:      {"There is no such address at the receiving side.", "Check how the address is written, above all the part before the @, and send again."},
			noDomain:    {"The part of the address after the @ does not exist, or takes no mail.", "Check how the part after the @ is written, and send again."},
			mailboxFull: {"The recipient's mailbox is full.", "Tell the recipient in another way, by telephone for instance, and send again later."},
			suspended:   {"The recipient's mailbox is locked, or no longer in use.", "Reach the recipient in another way."},
			tooLarge:    {"The message is larger than the receiving side allows.", "Send a smaller one: with fewer attachments, as several messages, or with a link for downloading."},
			refused:     {"The receiving side refused the message by its own rules; it may take it for spam.", "Reach the recipient in another way and ask to be let through. " + admin},
			badSender:   {"The receiving side does not accept the sender's address.", "Check the sender's address in your mail program. " + admin},
			unreachable: {"We tried many times, but could not hand the message to the receiving server, and have given up.", "Send it again later. If that does not help, reach the recipient in another way."},
			needsTLS:    {"This message must travel encrypted, and the receiving server could not do that.", "The message has not left us in clear. " + admin},
			needsUTF8:   {"An address or the head of the message has letters that the receiving server does not support.", "Use addresses of plain letters without marks, for the sender and for the recipient."},
			conversion:  {"The message has a form that the receiving server does not take.", "Send its content in another form, as an attachment for instance."},
			loop:        {"The message went round and round between servers and was stopped.", "Somewhere mail is forwarded in a circle. " + admin},
			stopped:     {"The message was stopped here, by the administrator or by the rules of this site; it was not sent on.", "See the reason below. " + admin},
			local:       {"Our own system could not deliver the message.", "See the reason below. " + admin},
		},
		plain: [...]advice{
			Delayed:   {"The receiving server does not take the message for the time being.", "There is nothing for you to do. We keep trying."},
			Delivered: {"The message is in the mailbox.", ""},
			Relayed:   {"The message was handed to the next server. That server sends no confirmations, so you may hear nothing more.", ""},
			Expanded:  {"The message was sent on to the members. There will be no confirmations for each of them.", ""},
		},
		until:  "If it cannot be delivered by %s, you will be told.",
		answer: "The server %s answered:",
		tried:  "Technical reason, at the server %s:",
		own:    "Technical reason:",
		more:   "… and %d more recipients; all of them are listed in the second part of this notice.",
		back:   [...]string{"", "The head of the message is attached.", "Your message is attached."},
	}
}
