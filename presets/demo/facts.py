"""Small tables of facts in English and Simplified Chinese, shared by corpus and dataset."""

# country, capital, country in Chinese, capital in Chinese
CAPITALS: tuple[tuple[str, str, str, str], ...] = (
    ("France", "Paris", "法国", "巴黎"),
    ("Germany", "Berlin", "德国", "柏林"),
    ("Italy", "Rome", "意大利", "罗马"),
    ("Spain", "Madrid", "西班牙", "马德里"),
    ("Portugal", "Lisbon", "葡萄牙", "里斯本"),
    ("Greece", "Athens", "希腊", "雅典"),
    ("Austria", "Vienna", "奥地利", "维也纳"),
    ("Poland", "Warsaw", "波兰", "华沙"),
    ("Sweden", "Stockholm", "瑞典", "斯德哥尔摩"),
    ("Norway", "Oslo", "挪威", "奥斯陆"),
    ("Finland", "Helsinki", "芬兰", "赫尔辛基"),
    ("Denmark", "Copenhagen", "丹麦", "哥本哈根"),
    ("Ireland", "Dublin", "爱尔兰", "都柏林"),
    ("Hungary", "Budapest", "匈牙利", "布达佩斯"),
    ("Russia", "Moscow", "俄罗斯", "莫斯科"),
    ("Ukraine", "Kyiv", "乌克兰", "基辅"),
    ("Turkey", "Ankara", "土耳其", "安卡拉"),
    ("Egypt", "Cairo", "埃及", "开罗"),
    ("Kenya", "Nairobi", "肯尼亚", "内罗毕"),
    ("Morocco", "Rabat", "摩洛哥", "拉巴特"),
    ("China", "Beijing", "中国", "北京"),
    ("Japan", "Tokyo", "日本", "东京"),
    ("South Korea", "Seoul", "韩国", "首尔"),
    ("India", "New Delhi", "印度", "新德里"),
    ("Thailand", "Bangkok", "泰国", "曼谷"),
    ("Vietnam", "Hanoi", "越南", "河内"),
    ("Indonesia", "Jakarta", "印度尼西亚", "雅加达"),
    ("Iran", "Tehran", "伊朗", "德黑兰"),
    ("Canada", "Ottawa", "加拿大", "渥太华"),
    ("Mexico", "Mexico City", "墨西哥", "墨西哥城"),
    ("Cuba", "Havana", "古巴", "哈瓦那"),
    ("Brazil", "Brasilia", "巴西", "巴西利亚"),
    ("Argentina", "Buenos Aires", "阿根廷", "布宜诺斯艾利斯"),
    ("Chile", "Santiago", "智利", "圣地亚哥"),
    ("Peru", "Lima", "秘鲁", "利马"),
    ("Australia", "Canberra", "澳大利亚", "堪培拉"),
    ("New Zealand", "Wellington", "新西兰", "惠灵顿"),
)

# thing, colour, thing in Chinese, colour in Chinese
COLOURS: tuple[tuple[str, str, str, str], ...] = (
    ("the sky", "blue", "天空", "蓝色"),
    ("the sea", "blue", "大海", "蓝色"),
    ("grass", "green", "草", "绿色"),
    ("a leaf", "green", "树叶", "绿色"),
    ("snow", "white", "雪", "白色"),
    ("milk", "white", "牛奶", "白色"),
    ("blood", "red", "血", "红色"),
    ("a tomato", "red", "西红柿", "红色"),
    ("a lemon", "yellow", "柠檬", "黄色"),
    ("a banana", "yellow", "香蕉", "黄色"),
    ("the night", "black", "黑夜", "黑色"),
    ("coal", "black", "煤", "黑色"),
    ("an orange", "orange", "橙子", "橙色"),
    ("chocolate", "brown", "巧克力", "棕色"),
)

# word, opposite, word in Chinese, opposite in Chinese; each line is used both ways
OPPOSITES: tuple[tuple[str, str, str, str], ...] = (
    ("hot", "cold", "热", "冷"),
    ("big", "small", "大", "小"),
    ("long", "short", "长", "短"),
    ("fast", "slow", "快", "慢"),
    ("good", "bad", "好", "坏"),
    ("new", "old", "新", "旧"),
    ("high", "low", "高", "低"),
    ("day", "night", "白天", "黑夜"),
    ("open", "closed", "开", "关"),
    ("early", "late", "早", "晚"),
    ("left", "right", "左", "右"),
    ("up", "down", "上", "下"),
    ("light", "heavy", "轻", "重"),
    ("full", "empty", "满", "空"),
    ("happy", "sad", "高兴", "难过"),
)

# animal, what it says, animal in Chinese, what it says in Chinese
SOUNDS: tuple[tuple[str, str, str, str], ...] = (
    ("dog", "woof", "狗", "汪汪"),
    ("cat", "meow", "猫", "喵喵"),
    ("cow", "moo", "牛", "哞哞"),
    ("sheep", "baa", "羊", "咩咩"),
    ("duck", "quack", "鸭子", "嘎嘎"),
    ("pig", "oink", "猪", "哼哼"),
    ("bee", "buzz", "蜜蜂", "嗡嗡"),
    ("frog", "ribbit", "青蛙", "呱呱"),
)

# English word, Chinese word
WORDS: tuple[tuple[str, str], ...] = (
    ("hello", "你好"),
    ("goodbye", "再见"),
    ("thank you", "谢谢"),
    ("water", "水"),
    ("fire", "火"),
    ("tea", "茶"),
    ("rice", "米饭"),
    ("bread", "面包"),
    ("apple", "苹果"),
    ("fish", "鱼"),
    ("bird", "鸟"),
    ("dog", "狗"),
    ("cat", "猫"),
    ("horse", "马"),
    ("tree", "树"),
    ("flower", "花"),
    ("sun", "太阳"),
    ("moon", "月亮"),
    ("star", "星星"),
    ("mountain", "山"),
    ("river", "河"),
    ("house", "房子"),
    ("door", "门"),
    ("book", "书"),
    ("friend", "朋友"),
    ("mother", "妈妈"),
    ("father", "爸爸"),
    ("teacher", "老师"),
    ("student", "学生"),
    ("school", "学校"),
    ("computer", "电脑"),
    ("model", "模型"),
    ("love", "爱"),
    ("rain", "雨"),
    ("wind", "风"),
)

WEEKDAYS: tuple[tuple[str, str], ...] = (
    ("Monday", "星期一"),
    ("Tuesday", "星期二"),
    ("Wednesday", "星期三"),
    ("Thursday", "星期四"),
    ("Friday", "星期五"),
    ("Saturday", "星期六"),
    ("Sunday", "星期日"),
)

NAMES_EN: tuple[str, ...] = (
    *("Anna", "Ben", "Carla", "David", "Emma", "Frank", "Grace", "Henry", "Ivy", "Jack", "Kate", "Leo"),
    *("Mary", "Nick", "Olga", "Paul", "Rosa", "Sam", "Tom", "Vera", "Will", "Zoe", "John", "Loris"),
)
NAMES_ZH: tuple[str, ...] = (
    *("小明", "小红", "小李", "小王", "小张", "小刘", "小陈", "小美", "小华", "小强", "小芳", "小丽"),
    *("小杰", "小雨", "小林", "小军", "小梅", "小东", "小云", "Loris"),
)
