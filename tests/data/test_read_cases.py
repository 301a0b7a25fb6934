"""Files of labelled series: the archives' formats, real files, and everything that can be wrong with one."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from aaren.data import find_parts, read_cases, sha256_of
from aaren.errors import AarenError, DataError

HEAD = "#comment\n@problemName x\n@timeStamps false\n@classLabel true a b\n"
TS = HEAD + "@data\n"
ARFF = (
    "% comment\n@relation x\n@attribute series relational\n@attribute t0 numeric\n@attribute t1 numeric\n"
    "@end series\n@attribute class {a,b}\n@data\n"
)


def values(cases):
    """Cases as lists, channel by channel."""
    return [case.T.tolist() for case in cases.cases]


@pytest.mark.parametrize(
    ("name", "row", "cases", "dims", "length", "classes"),
    [
        ("JapaneseVowels", "train", 270, 12, (7, 26), 9),
        ("JapaneseVowels", "test", 370, 12, (7, 29), 9),
        ("UWaveGestureLibrary", "train", 120, 3, (315, 315), 8),
        ("Handwriting", "train", 150, 3, (152, 152), 26),
        ("BasicMotions", "test", 40, 6, (100, 100), 4),
        ("DodgerLoopDay", "train", 78, 1, (288, 288), 7),
    ],
)
def test_real_files_have_their_published_sizes(name, row, cases, dims, length, classes, real_data):
    """Real files of the archives give the published numbers of cases, channels, lengths and classes."""
    path = find_parts(name)[row]
    found = read_cases(path)
    assert (len(found), len(found.channels), len(found.classes)) == (cases, dims, classes)
    assert (found.lengths.min(), found.lengths.max()) == length
    assert (found.source, found.sha256) == (str(path), sha256_of(path))


def test_a_real_file_value_for_value(real_data):
    """A real .ts file read here equals a plain reading of its lines; its classes are the header's, in order."""
    path = find_parts("BasicMotions")["train"]
    found = read_cases(path)
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    rows = [line.split(":") for line in lines[lines.index("@data") + 1 :]]
    assert found.classes == ("Standing", "Running", "Walking", "Badminton")
    for case, label, row in zip(found.cases, found.labels, rows, strict=True):
        assert case.T.tolist() == [[float(cell) for cell in part.split(",")] for part in row[:-1]]
        assert found.classes[label] == row[-1]


def test_missing_values_of_a_real_file(real_data):
    """Gaps inside real series stay as missing values, with their published number of cells."""
    cases = read_cases(find_parts("DodgerLoopDay")["train"])
    assert sum(int(np.isnan(case).sum()) for case in cases.cases) == 236


def test_the_dialects_of_ts(write):
    """Unequal lengths, `?`, old spelling, one channel, BOM, latin-1, comments and empty lines, packed or not."""
    unequal = read_cases(write(TS + "1,?,3:4,5,6:a\n\n# more\n -1e2 : +.5 : b \n", "x.ts"))
    assert [case.shape for case in unequal.cases] == [(3, 2), (1, 2)]
    assert np.isnan(unequal.cases[0][1, 0])
    assert (values(unequal)[1], unequal.labels.tolist()) == ([[-100.0], [0.5]], [0, 1])
    assert values(read_cases(write(HEAD + "@dimension 2\n@data\n1:2:b\n", "x.ts"))) == [[[1.0], [2.0]]]
    alone = "@UNIVARIATE TRUE\n@ClassLabel TRUE a\n@DATA\n1,2:a\n"
    assert values(read_cases(write(alone, "x.ts"))) == [[[1.0, 2.0]]]
    assert read_cases(write("\ufeff" + TS + "1:a\n", "x.ts")).classes == ("a", "b")
    latin = "@classLabel true süd\n@data\r\n1:süd\r\n".encode("latin-1")
    assert read_cases(write(latin, "x.ts")).classes == ("süd",)
    odd = "#a\x85b\n@classLabel true a\n@data\n1:a\n"  # \x85 ends a line to Python alone
    assert len(read_cases(write(odd, "x.ts"))) == 1
    assert values(read_cases(write(gzip.compress((TS + "1,2:a\n").encode()), "x.TS.gz"))) == [[[1.0, 2.0]]]


def test_a_channel_that_ends_early_is_missing_from_there_on(write):
    """Where the channels of a case differ in length, the shorter ones are missing at the end."""
    case = read_cases(write(TS + "1,2,3:4:a\n", "x.ts")).cases[0]
    assert case[:, 0].tolist() == [1, 2, 3]
    assert case[0, 1] == 4
    assert np.isnan(case[1:, 1]).all()


def test_arff(write):
    r"""Quoted cases with channels separated by \n, in both kinds of quotes, quoted classes, padding cut off."""
    text = ARFF + "'1.0,2.0\\n3.0,?',a\n\"4,?\\n5,?\",'b'\n% end\n"
    cases = read_cases(write(text, "x.arff"))
    assert [case.shape for case in cases.cases] == [(2, 2), (1, 2)]
    assert np.isnan(cases.cases[0][1, 1])
    assert values(cases)[1] == [[4.0], [5.0]]
    assert (cases.classes, cases.labels.tolist()) == (("a", "b"), [0, 1])


def test_tsv(write):
    """Class first, then values; NaN at the end is padding, NaN inside is missing; classes sorted by value."""
    cases = read_cases(write("10\t1\tNaN\t3\n9\t4\t5\tNaN\n", "x.tsv"))
    assert (cases.classes, cases.labels.tolist(), cases.lengths.tolist()) == (("9", "10"), [1, 0], [3, 2])
    assert np.isnan(cases.cases[0][1, 0])
    assert read_cases(write("-1\t1\n1\t2\n", "x.tsv")).classes == ("-1", "1")
    assert read_cases(write("a\t1\t\nb\t2\t3\n", "x.tsv")).lengths.tolist() == [1, 2]


def test_one_series_in_three_formats(write):
    """The same cases in all three formats are the same numbers, lengths and classes."""
    ts = read_cases(write(TS + "1,2:a\n3:b\n", "x.ts"))
    arff = read_cases(write(ARFF + "'1,2',a\n'3,?',b\n", "x.arff"))
    tsv = read_cases(write("a\t1\t2\nb\t3\tnan\n", "x.tsv"))
    assert values(ts) == values(arff) == values(tsv) == [[[1.0, 2.0]], [[3.0]]]
    assert ts.labels.tolist() == arff.labels.tolist() == tsv.labels.tolist() == [0, 1]


def test_classes_of_the_training_file(write):
    """A test file whose header has another order is read with the labels of training; an unknown class is named."""
    path = write(TS.replace("a b", "b a c") + "1:b\n2:c\n", "x.ts")
    assert read_cases(path, classes=("a", "b", "c")).labels.tolist() == [1, 2]
    with pytest.raises(DataError, match=r"x\.ts, line 7: expected one of the classes 'a', 'b', received 'c'"):
        read_cases(path, classes=("a", "b"))


def test_unlabelled_cases(write):
    """A question mark stands for an unknown class where the caller allows it, and nowhere else."""
    for name, text in (("x.ts", TS + "1:?\n2:b\n"), ("x.tsv", "?\t1\nb\t2\n")):
        path = write(text, name)
        assert read_cases(path, classes=("a", "b"), unlabelled=True).labels.tolist() == [-1, 1]
        with pytest.raises(DataError, match=r"received '\?'"):
            read_cases(path, classes=("a", "b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a line @data .* received none"),
        (HEAD, "expected a line @data .* received none"),
        (TS, "expected cases, received none"),
        ("@data\n1:a\n", "line 1: expected a line @classLabel"),
        ("@classLabel false\n@data\n1\n", "line 1: expected '@classLabel true'"),
        ("@classLabel true\n@data\n1:a\n", "line 1: expected the names of the classes"),
        ("@classLabel true a a\n@data\n1:a\n", "line 1: expected different classes, received 'a' twice"),
        ("@targetLabel true\n@data\n1:2\n", "line 1: .*numeric targets"),
        ("@timeStamps true\n@classLabel true a\n@data\n(0,1):a\n", "line 1: expected values without time stamps"),
        (TS + "(0,1),(1,2):a\n", "line 6, column 'channel_1': .*pairs of time stamp"),
        ("1,2:a\n", "line 1: expected a line of the header"),
        (HEAD + "@dimensions two\n@data\n1:a\n", "line 5: expected a whole number .*@dimensions, received 'two'"),
        (HEAD + "@dimensions 0\n@data\n1:a\n", "line 5: expected a whole number"),
        (HEAD + "@dimensions 2\n@data\n1:2:a\n1:a\n", "line 8: expected 2 channels and a class.* received 1"),
        (TS + "1:2:a\n1:2:3:a\n", "line 7: expected 2 channels"),
        (TS + "1,2:3,4:a\n1,2:3,", "line 7: expected 2 channels .*cut off"),
        (TS + "1,2,3\n", "line 6: expected at least one channels"),
        (TS + "1,x:a\n", "line 6, column 'channel_1': value 2: expected a number, received 'x'"),
        (TS + "1:2,1_000:a\n", "line 6, column 'channel_2': value 2: expected a number"),
        (TS + "1,0x10:a\n", "value 2: expected a number"),
        (TS + "1,inf:a\n", "line 6, column 'channel_1': value 2: expected a finite number"),
        (TS + "1,1e999:a\n", "value 2: expected a finite number"),
        (TS + "1,1-2:a\n", "value 2: expected a number"),
        (TS + ":a\n", "line 6: expected a case of at least one value"),
        (TS + "1:c\n", "line 6: expected one of the classes 'a', 'b', received 'c'"),
        (TS + "1:\n", "line 6: expected a class, received none"),
        (HEAD + "@equalLength true\n@seriesLength 3\n@data\n1,2,3:a\n1,2:b\n", "line 9.*expected 3 values"),
    ],
)
def test_ts_at_fault(write, text, message):
    """Whatever is wrong with a .ts file is named with its line."""
    with pytest.raises(DataError, match=rf"x\.ts.*{message}"):
        read_cases(write(text, "x.ts"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a line @data"),
        (ARFF.replace("@data\n", ""), "expected a line @data"),
        (ARFF, "expected cases, received none"),
        ("@relation x\n@attribute a numeric\n@attribute c {a,b}\n@data\n1,a\n", "expected a relational attribute"),
        (ARFF.replace("{a,b}", "numeric") + "'1,2',a\n", "expected an attribute of classes"),
        (ARFF.replace("{a,b}", "{a,a}") + "'1,2',a\n", "line 7: expected different classes"),
        (ARFF.replace("@attribute t0 numeric", "@attribute t0"), "line 4: expected '@attribute NAME TYPE'"),
        (ARFF + "1,2,a\n", "line 9: expected a case in quotes"),
        (ARFF + "'1,2\n", "line 9: expected a case in quotes.*cut off"),
        (ARFF + "'1,2'\n", "line 9: expected a case in quotes"),
        (ARFF + "'1,2',a\n'1,2\\n3,4',a\n", "line 10: expected 1 channels as in the first case, received 2"),
        (ARFF + "'1,2,3',a\n", "line 9, column 'channel_1': expected 2 values as in the header, received 3"),
        (ARFF + "'1,2\\n3',a\n", "line 9, column 'channel_2': expected 2 values"),
        (ARFF + "'1,x',a\n", "line 9, column 'channel_1': value 2: expected a number"),
        (ARFF + "'1,-inf',a\n", "expected a finite number"),
        (ARFF + "'?,?',a\n", "line 9: expected a case of at least one value"),
        (ARFF + "'1,2',c\n", "line 9: expected one of the classes"),
    ],
)
def test_arff_at_fault(write, text, message):
    """Whatever is wrong with an .arff file is named, with its line where it has one."""
    with pytest.raises(DataError, match=rf"x\.arff.*{message}"):
        read_cases(write(text, "x.arff"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected cases, received none"),
        ("a\n", "line 1: expected a class and at least 1 values"),
        ("a\t1\t2\nb\t3\n", "line 2: expected a class and 2 values.*cut off"),
        ("a,1,2\n", "line 1: expected a class and at least 1 values, separated by tabs"),
        ("a\t1\tx\n", "line 1, column 'channel_1': value 2: expected a number"),
        ("a\t1\tinf\n", "expected a finite number"),
        ("a\tNaN\tNaN\n", "line 1: expected a case of at least one value"),
        ("\t1\t2\n", "line 1: expected a class, received none"),
    ],
)
def test_tsv_at_fault(write, text, message):
    """Whatever is wrong with a .tsv file is named with its line."""
    with pytest.raises(DataError, match=rf"x\.tsv.*{message}"):
        read_cases(write(text, "x.tsv"))


def test_a_real_file_cut_anywhere(real_data, write):
    """A real file cut off at any of many places is refused, or is a whole number of cases and a cut class name."""
    whole = gzip.decompress(find_parts("JapaneseVowels")["train"].read_bytes()).decode()
    full = read_cases(write(whole, "whole.ts"))
    begin = whole.index("@data")
    for place in np.linspace(0, begin + 4000, 25).astype(int).tolist():
        try:
            found = read_cases(write(whole[:place], "cut.ts"))
        except DataError:
            continue
        assert whole[place - 1] in "\n123456789"
        assert all(np.array_equal(a, b) for a, b in zip(found.cases, full.cases[: len(found)], strict=True))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", "ends in .ts"),
        ("x", b"", "ends in .ts"),
        ("x.gz", b"", "ends in .ts"),
        ("x.ts.gz", gzip.compress((TS + "1:a\n").encode(), mtime=0)[:-9], "damaged"),
        ("x.ts.gz", b"no gzip", "damaged"),
        ("x.ts", "\ufeff@data".encode("utf-16-le"), "UTF-16"),
    ],
)
def test_damaged_files(write, name, content, message):
    """Damaged or foreign files are refused by name."""
    with pytest.raises(DataError, match=message):
        read_cases(write(content, name))


def test_absent_files(tmp_path):
    """A file that is not there, or is a folder, or cannot be a path, is this library's error."""
    (tmp_path / "folder.ts").mkdir()
    for place in (tmp_path / "nowhere.ts", tmp_path / "folder.ts", "nul\0.ts"):
        with pytest.raises(AarenError, match="cannot be read"):
            read_cases(place)


def test_a_case_that_would_take_far_more_memory_than_its_file(write):
    """One long channel among very many short ones is refused before memory is taken, and so is a bomb of blanks."""
    many = 4000
    text = "@classLabel true 1 2\n@data\n" + ",".join(["1"] * many) + ":" + ":".join(["1"] * many) + ":1\n"
    with pytest.raises(DataError, match="line 3: expected channels of like length, received 4001"):
        read_cases(write(text.encode(), "x.ts"))
    with pytest.raises(DataError, match=r"unpack to more than 67108864; it is damaged or crafted"):
        read_cases(write(gzip.compress(b" " * (1 << 27), mtime=0), "x.ts.gz"))


def test_header_entries_may_be_parted_by_tabs(write):
    """A tab parts the name of an entry from its value as a blank does."""
    assert read_cases(write(b"@classLabel\ttrue a b\n@data\n1,2:a\n", "x.ts")).classes == ("a", "b")
