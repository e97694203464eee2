"""`quotaware demo`: an app with a fake provider and made-up customers, and its dashboard to look at. It asks no other
host, writes no file, and forgets all when it ends.
"""
