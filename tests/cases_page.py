"""What a person does on the explorer's page, and reads there."""


def number(page, name):
    """The number behind a name in the table."""
    row = page.locator("#numbers tr", has=page.locator(f"th:text-is('{name}')"))
    return float(row.locator("td").first.inner_text())


def c_of(page):
    return number(page, "Effective cumulant c")


def choose(page, **fields):
    for field, value in fields.items():
        parameter = field.startswith("p_")  # those keep their names
        page.fill(f"#p-{field[2:]}" if parameter else f"#{field.replace('_', '-')}", str(value))


def note(page):
    return page.inner_text("#note")


def drop(page, name, text):
    """Drop a file as a person does, and wait until it is read."""
    transfer = page.evaluate_handle(
        """([name, text]) => {
          const once = { once: true };
          const done = (resolve) => document.addEventListener("files-read", resolve, once);
          window.wasRead = { promise: new Promise(done) };
          const transfer = new DataTransfer();
          transfer.items.add(new File([text], name));
          return transfer;
        }""",
        [name, text],
    )
    page.dispatch_event("#drop", "dragover", {"dataTransfer": transfer})
    assert "over" in page.get_attribute("#drop", "class")
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    page.evaluate("window.wasRead.promise.then(() => true)")
    assert "over" not in page.get_attribute("#drop", "class")
