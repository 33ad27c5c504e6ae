import os

from hearth_hack.datafolder import share


def mode(path):
    return path.stat().st_mode & 0o7777


def test_the_group_gets_what_it_lacks_and_others_nothing(tmp_path):
    folder = tmp_path / "maildir"
    folder.mkdir(mode=0o700)
    mailbox = folder / "my.mbox"
    mailbox.write_text("From a\n")
    mailbox.chmod(0o600)
    group = os.getgid()
    assert share(tmp_path, group=group) == 2
    assert mode(mailbox) == 0o640
    assert mode(folder) == 0o2750
    assert share(tmp_path, group=group) == 0


def test_links_are_left_alone(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("secret\n")
    outside.chmod(0o600)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(outside)
    assert share(tmp_path / "data", group=os.getgid()) == 0
    assert mode(outside) == 0o600
