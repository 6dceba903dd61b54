"""The form of the import page: where an autoresearch run is taken from."""

from __future__ import annotations

from typing import Any, TypeAlias

from django import forms
from django.core.files.uploadedfile import UploadedFile

from experiments.importing.bring import Wish
from experiments.importing.refused import ImportRefused
from experiments.importing.tsv import MAX_BYTES

Upload: TypeAlias = "UploadedFile[Any] | None"
_FIELDS = {"source": "where", "branch": "branch", "table": "table"}


class ImportForm(forms.Form):
    where = forms.CharField(
        label="Folder or address",
        required=False,
        max_length=300,
        help_text="A clone on this machine, or an https, ssh or git address. It is only read.",
        error_messages={"max_length": "At most 300 characters. Is this the address itself?"},
        widget=forms.TextInput(attrs={"placeholder": "https://github.com/you/autoresearch", "spellcheck": "false",
                                      "autocapitalize": "none", "autocomplete": "off"}),
    )  # fmt: skip
    branch = forms.CharField(
        label="Branch",
        required=False,
        max_length=200,
        help_text="Empty: the one that is checked out. autoresearch/ may be left out.",
        widget=forms.TextInput(attrs={"placeholder": "autoresearch/mar5", "spellcheck": "false", "autocapitalize": "none",
                                      "autocomplete": "off"}),
    )  # fmt: skip
    table = forms.FileField(
        label="results.tsv",
        required=False,
        allow_empty_file=True,
        help_text="Needed where the repository does not hold it: most clones leave it uncommitted. Alone, it brings the "
        "scores without diffs.",
        widget=forms.FileInput(attrs={"accept": ".tsv,.txt,text/tab-separated-values,text/plain"}),
    )

    def clean_table(self) -> Upload:
        file: Upload = self.cleaned_data["table"]
        if file is not None and (file.size or 0) > MAX_BYTES:
            size = (file.size or 0) / 1e6
            raise forms.ValidationError(f"The file has {size:.1f} MB; at most {MAX_BYTES / 1e6:.0f} MB are read.")
        return file

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors and not data.get("where") and data.get("table") is None:
            self.add_error("where", "Give a folder or an address, or choose a results.tsv.")
        return data

    def wish(self) -> Wish:
        file: Upload = self.cleaned_data["table"]
        name = (file.name or "") if file else ""
        return Wish(self.cleaned_data["where"], self.cleaned_data["branch"], file.read() if file else None, name)

    def refuse(self, refused: ImportRefused) -> None:
        """Put what was wrong beside its field."""
        self.add_error(_FIELDS[refused.field], str(refused))
