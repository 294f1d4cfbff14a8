"""The words of the screens and of the questions.

Labels are drawn from EN and ZH, or invented: strings that nobody has seen, so
that reading cannot be recognising.  The words of TEMPLATES become tokens of
their own; everything else is spelled.
"""

EN = """Settings Camera Photos Gallery Messages Phone Contacts Calendar Clock Weather Maps Music Video Mail Gmail
Browser Chrome Files Notes Calculator Store Wallet Health Fitness News Books Games Radio Recorder Compass Translate
Drive Docs Sheets Slides Meet Chat Zoom Slack Twitter Facebook Instagram WhatsApp Telegram Signal Skype YouTube Netflix
Spotify Amazon eBay PayPal Uber Lyft Airbnb Booking Reddit Discord TikTok Snapchat Pinterest LinkedIn Shazam Kindle
Wi-Fi Bluetooth Hotspot NFC Location Battery Display Sound Storage Privacy Security Accounts Language Keyboard About
Save Cancel OK Delete Edit Share Send Reply Forward Search Next Back Done Continue Submit Confirm Apply Reset Retry
Close Open Copy Paste Undo Redo Print Help Login Logout Register Accept Decline Allow Deny Skip Start Stop Pause Play
Add Remove Update Install Buy Pay Order Cart Checkout Favorites History Downloads Bookmarks Profile Home Inbox Sent
Drafts Trash Spam Archive Today Tomorrow Monday Friday Sunday January March August Title Total Price Address City
Country Email Password Username Name Age Date Time Note Subject Message Comment Amount Coupon Code Gender Company
Notifications Brightness Wallpaper Ringtone Vibration Timer Alarm Stopwatch Backup Restore Permissions Developer
Theme Font Rotation Cellular VPN Roaming Cast Printing Sync Airplane Torch Invite Follow Like Upload Scan""".split()
EN += ["Dark mode", "Do not disturb", "Night light", "Data saver", "Power saving", "Sign in", "Sign up", "Log out",
       "Add to cart", "Screen time", "My files", "Play Store", "App Store", "Voice memo", "Quick share", "Auto update",
       "Face unlock", "Fingerprint", "Find device", "Emergency call", "Not now", "Learn more", "Try again", "See all"]
ZH = """设置 相机 照片 图库 信息 电话 联系人 日历 时钟 天气 地图 音乐 视频 邮件 浏览器 文件 备忘录 计算器 应用商店 钱包
健康 新闻 阅读 游戏 录音机 指南针 翻译 微信 支付宝 淘宝 京东 抖音 微博 知乎 美团 滴滴 百度 高德地图 哔哩哔哩 小红书
无线网络 蓝牙 热点 定位 电池 显示 声音 存储 隐私 安全 账号 语言 键盘 关于手机 保存 取消 确定 删除 编辑 分享 发送 回复
转发 搜索 下一步 返回 完成 继续 提交 确认 应用 重置 重试 关闭 打开 复制 粘贴 撤销 打印 帮助 登录 退出 注册 接受 拒绝
允许 禁止 跳过 开始 停止 暂停 播放 添加 移除 更新 安装 购买 支付 订单 购物车 收藏 历史记录 下载 书签 个人资料 首页
收件箱 草稿 今天 明天 标题 总计 价格 地址 城市 密码 用户名 姓名 年龄 日期 时间 备注 主题 金额 优惠券 通知 亮度 壁纸
铃声 振动 闹钟 备份 权限 字体 飞行模式 深色模式 勿扰模式 省电模式 护眼模式 自动更新 我的 消息 发现 朋友圈 扫一扫""".split()
ZH_CHARACTERS = sorted(set("".join(ZH)))
SYLLABLES = """ba be bo ca co da de di do fa fi go ha he jo ka ki la le li lo ma me mi mo na ne no pa pe po ra re ri ro
sa se si so ta te ti to va vi wa xu ya zo an en in on ar er or st ng th""".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CODE = "ABCDEFGHJKLMNPQRSTUVWXYZ123456789"      # as codes are printed: no O beside 0, no I beside 1
MIXED = CODE + "abcdefghijkmnpqrstuvwxyz-_.:/#&+@!?"

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "gray", "black")
ZH_COLORS = dict(zip(COLORS, "红色 橙色 黄色 绿色 蓝色 紫色 粉色 棕色 灰色 黑色".split()))
KINDS = {"button": "buttons", "icon": "icons", "switch": "switches", "field": "fields"}     # those one can count
ZH_KINDS = {"button": "按钮", "icon": "图标", "switch": "开关", "field": "输入框"}
DIRECTIONS = ("up", "down", "left", "right")
ZH_DIRECTIONS = dict(zip(DIRECTIONS, "上下左右"))
# Scrolling up means that the finger moves down.
SWIPES = {"up": (500, 300, 500, 700), "down": (500, 700, 500, 300),
          "left": (200, 500, 800, 500), "right": (800, 500, 200, 500)}

# task: (English, Chinese).  {0} label, {1} kind, {2} colour, {3} point
TEMPLATES = {
    "tap": (['Tap "{0}"', 'Open {0}', 'Click the "{0}" {1}', 'Press {0}', 'Tap on {0}'],
            ['点击“{0}”', '打开{0}', '点击{0}{1}']),
    "tap_field": (['Tap the "{0}" field', 'Enter your {0}'], ['点击“{0}”输入框', '填写{0}']),
    "tap_switch_on": (['Turn on {0}', 'Switch {0} on'], ['打开{0}开关', '开启{0}']),
    "tap_switch_off": (['Turn off {0}', 'Switch {0} off'], ['关闭{0}开关', '关掉{0}']),
    "tap_color": (['Tap the {2} {1}', 'Click the {2} {1}'], ['点击{2}的{1}']),
    "read": (['What does it say at {3}?', 'Read the text at {3}', 'What is at {3}?'], ['{3}处写着什么？', '读出{3}处的文字']),
    "title": (['What is the title?', 'Read the title of this screen'], ['标题是什么？', '读出标题']),
    "color": (['What color is the "{0}" {1}?', 'Which color is {0}?'], ['“{0}”是什么颜色？']),
    "count": (['How many {1} are there?', 'Count the {1}'], ['有几个{1}？']),
    "state": (['Is {0} on?', 'Is {0} turned on?'], ['{0}开了吗？']),
    "type": (['Type "{0}"', 'Enter the text "{0}"'], ['输入“{0}”']),
    "back": (['Go back', 'Return to the previous screen'], ['返回上一页']),
    "swipe": (['Scroll {0}', 'Swipe {0}'], ['向{0}滑动']),
}
YES, NO = ("yes", "开"), ("no", "关")


def invent(r):
    """A string that nobody has seen: syllables, letters, codes, two words, anything."""
    k = r.random()
    if k < .4:
        return "".join(r.choice(SYLLABLES) for _ in range(r.randint(2, 4))).capitalize()
    if k < .6:
        return "".join(r.choice(LETTERS) for _ in range(r.randint(3, 9))).capitalize()
    if k < .7:
        return "".join(r.choice(LETTERS) for _ in range(r.randint(3, 9)))
    if k < .8:
        return "".join(r.choice(CODE) for _ in range(r.randint(3, 8)))
    if k < .93:
        return " ".join("".join(r.choice(SYLLABLES) for _ in range(r.randint(1, 3))) for _ in "ab").capitalize()
    return "".join(r.choice(MIXED) for _ in range(r.randint(3, 8)))


def number(r):
    """A time, price, share, room, version or plain number."""
    return r.choice([f"{r.randint(0, 23)}:{r.randint(0, 59):02d}", f"${r.randint(1, 999)}.{r.randint(0, 99):02d}",
                     f"{r.randint(1, 100)}%", f"Room {r.randint(1, 99)}", f"v{r.randint(1, 9)}.{r.randint(0, 20)}",
                     str(r.randint(10, 99999))])


def label(r, zh, known):
    """A label in the screen's language; returns (text, whether it is one of the vocabulary's).  `known`: how often."""
    if zh and r.random() < .85:
        if r.random() < known + .2:
            return r.choice(ZH), True
        return "".join(r.choice(ZH_CHARACTERS) for _ in range(r.randint(2, 5))), False
    if r.random() < known:
        return r.choice(EN), True
    return (invent(r) if r.random() < .75 else number(r)), False
