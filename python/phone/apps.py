"""What is on the scripted phone: screens, what can be tapped on each, and what that does. Data alone.

A label is given in English and translated with ZH for a Chinese phone, so that both behave in the same way. What an
item does is a verb and its object: `open` a screen, `toggle` a switch, `focus` a field, `save` the fields of a note,
`send` a message, go `back`, or nothing.
"""
from dataclasses import dataclass


CANVAS = 288, 640                     # the pixels that everything is laid out in, as the model sees them
TITLE_BAR, TAB_BAR, ROW = 64, 44, 40  # heights: of the status and title together, of the tabs, of a list's row
PAGES = ("Display", "Sound", "About")  # rows that open a screen


@dataclass(frozen=True)
class Item:
    kind: str              # icon, row, switch (a row that has one), field, button or tab
    label: str
    verb: str = ""         # what a tap does
    object: str = ""


@dataclass(frozen=True)
class Screen:
    kind: str              # home, list, form or chat
    title: str             # the app's name or the page's
    items: tuple
    package: str           # of the app that it belongs to, as Android names it
    tabs: tuple = ()

    @property
    def visible_rows(self):
        """How many rows of a list fit between the title and the tabs"""
        return int((CANVAS[1] - TITLE_BAR - (TAB_BAR if self.tabs else 0)) // ROW)


def rows(*labels):
    """Rows of a list: some open a page of the settings, the others do nothing."""
    return tuple(Item("row", label, "open" if label in PAGES else "", label.lower()) for label in labels)


def switches(*labels):
    return tuple(Item("switch", label, "toggle", label) for label in labels)


SETTINGS, MUSIC = "com.android.settings", "com.android.music"
TABS = tuple(Item("tab", label, "open", screen) for label, screen in
             (("Home", "music"), ("Favorites", "music/favorites"), ("Downloads", "music/downloads")))
APPS = ("Settings", "Camera", "Photos", "Messages", "Phone", "Calendar", "Clock", "Weather", "Maps", "Music", "Notes",
        "Wallet", "Files", "Browser", "Store", "Games")
SCREENS = {
    "home": Screen("home", "", tuple(Item("icon", a, "open", a.lower()) for a in APPS), "com.android.launcher3"),
    "settings": Screen("list", "Settings", switches("Wi-Fi", "Bluetooth", "Hotspot") + rows("Display", "Sound") +
                       switches("Location") + rows("Notifications", "Battery", "Storage", "Security", "Privacy",
                                                   "Accounts", "Language", "Keyboard", "Backup", "About"), SETTINGS),
    "display": Screen("list", "Display", rows("Brightness", "Wallpaper") + switches("Dark mode", "Night light") +
                      rows("Font"), SETTINGS),
    "sound": Screen("list", "Sound", rows("Ringtone") + switches("Vibration", "Do not disturb") + rows("Alarm"),
                    SETTINGS),
    "about": Screen("list", "About", rows("Name", "Update", "Permissions", "Help"), SETTINGS),
    "notes": Screen("form", "Notes", (Item("field", "Title", "focus", "Title"), Item("field", "Note", "focus", "Note"),
                                      Item("button", "Cancel", "back"), Item("button", "Save", "save")),
                    "com.android.notes"),
    "messages": Screen("chat", "Messages", (Item("field", "Message", "focus", "Message"),
                                            Item("button", "Send", "send")), "com.android.mms"),
    "clock": Screen("list", "Clock", switches("Today", "Tomorrow") + rows("Alarm", "Time"), "com.android.deskclock"),
    "music": Screen("list", "Music", rows("Radio", "History", "Books", "Video"), MUSIC, TABS),
    "music/favorites": Screen("list", "Favorites", rows("Weather", "News"), MUSIC, TABS),
    "music/downloads": Screen("list", "Downloads", rows("Calendar", "Games"), MUSIC, TABS),
}
for _app in APPS:
    SCREENS.setdefault(_app.lower(), Screen("list", _app, rows("Favorites", "History", "Downloads", "Profile", "Help"),
                                            "com.android." + _app.lower()))

# What is on when the phone is new.
ON = ("Bluetooth", "Location", "Today")

ZH = dict(zip(
    "Settings Camera Photos Messages Phone Calendar Clock Weather Maps Music Notes Wallet Files Browser Store Games "
    "Wi-Fi Bluetooth Hotspot Display Sound Location Notifications Battery Storage Security Privacy Accounts Language "
    "Keyboard Backup About Brightness Wallpaper Font Ringtone Vibration Alarm Name Update Permissions Help Title Note "
    "Cancel Save Message Send Today Tomorrow Time Radio History Books Video Home Favorites Downloads News "
    "Profile".split(),
    "设置 相机 照片 信息 电话 日历 时钟 天气 地图 音乐 备忘录 钱包 文件 浏览器 应用商店 游戏 无线网络 蓝牙 热点 显示 声音 定位 "
    "通知 电池 存储 安全 隐私 账号 语言 键盘 备份 关于手机 亮度 壁纸 字体 铃声 振动 闹钟 姓名 更新 权限 帮助 标题 备注 取消 "
    "保存 消息 发送 今天 明天 时间 录音机 历史记录 阅读 视频 首页 收藏 下载 新闻 个人资料".split(), strict=True))
ZH |= {"Dark mode": "深色模式", "Night light": "护眼模式", "Do not disturb": "勿扰模式"}


def word(label, language):
    """A label in the phone's language"""
    return ZH[label] if language == "zh" and label else label
